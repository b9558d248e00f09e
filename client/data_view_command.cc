// kdctl data view: a labelled frame of any format as a PNG.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/data_source.h"
#include "client/session.h"
#include "client/show.h"

namespace kd {
namespace {

struct ViewFlags {
  DataFlags data;
  ShowOptions show;
};

absl::Status View(ViewFlags flags) {
  KD_ASSIGN_OR_RETURN(const OpenedData opened, OpenData(flags.data));
  if (flags.show.sample.empty()) {
    KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, opened.dataset->Split(flags.data.split));
    if (samples.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("split \"", flags.data.split, "\" names no frame"));
    }
    flags.show.sample = samples.front();
    Say(absl::StrCat("frame ", flags.show.sample, ", the first one of split \"", flags.data.split, "\""));
  }
  flags.show.root = flags.data.root;
  flags.show.format = opened.data.format();
  flags.show.dataset = opened.dataset.get();
  return ShowFrame(flags.show);
}

int Run(const ViewFlags& flags) {
  const absl::Status status = View(flags);
  if (!status.ok())
    return ReportError(status, "name what is there: --data ROOT --format FORMAT, and --frame NAME or --split SPLIT");
  std::cout << flags.show.out << "\n";
  return kExitOk;
}

}  // namespace

void AddDataViewCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<ViewFlags>();
  CLI::App* command = app.get_subcommand("data")->add_subcommand("view", "Draw a frame: points, labels, camera images");
  AddDataFlags(*command, flags->data);
  command->add_option("--frame", flags->show.sample,
                      "Name of the frame: 000134 (KITTI, own data), a sample's token (nuScenes), CONTEXT/017 (Waymo); "
                      "default: the first one of --split");
  command->add_option("--out", flags->show.out, "PNG to write")->required();
  command->footer(
      "Examples:\n"
      "  kdctl data view --data out/sim --out view.png\n"
      "  kdctl data view --data out/nuscenes --split mini_train --out view.png\n"
      "  kdctl data view --data out/waymo --frame simulated_train_000000/005 --out view.png");
  command->callback([&session, flags] { session.exit_code = Run(*flags); });
}

}  // namespace kd
