// kdctl data view: a labelled frame of any format as a PNG.
#include <iostream>
#include <memory>

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
  flags.show.root = flags.data.root;
  flags.show.format = opened.data.format();
  flags.show.dataset = opened.dataset.get();
  return ShowFrame(flags.show);
}

int Run(const ViewFlags& flags) {
  const absl::Status status = View(flags);
  if (!status.ok()) return ReportError(status, "name a frame that is there: --data ROOT --frame NAME --format FORMAT");
  std::cout << flags.show.out << "\n";
  return kExitOk;
}

}  // namespace

void AddDataViewCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<ViewFlags>();
  CLI::App* command = app.get_subcommand("data")->add_subcommand("view", "Draw a frame: points, labels, camera images");
  AddDataFlags(*command, flags->data);
  command->add_option("--frame", flags->show.sample, "Name of the frame, such as 000134")->required();
  command->add_option("--out", flags->show.out, "PNG to write")->required();
  command->callback([&session, flags] { session.exit_code = Run(*flags); });
}

}  // namespace kd
