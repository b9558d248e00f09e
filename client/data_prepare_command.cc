// kdctl data prepare: objects cut out of a split, to be pasted into other frames.
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/data_source.h"
#include "client/session.h"
#include "data/object_database.h"

namespace kd {
namespace {

struct PrepareFlags {
  DataFlags data;
  std::string out;
  uint32_t min_points = 5;
};

absl::Status Prepare(const PrepareFlags& flags) {
  KD_ASSIGN_OR_RETURN(const OpenedData opened, OpenData(flags.data));
  const Dataset& dataset = *opened.dataset;
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, dataset.Split(flags.data.split));
  if (samples.empty())
    return absl::InvalidArgumentError(absl::StrCat("split \"", flags.data.split, "\" names no frame"));
  KD_ASSIGN_OR_RETURN(const Frame sample, dataset.Read(samples[0]));
  ObjectDatabaseInfo info{.class_names = dataset.class_names(),
                          .point_columns = static_cast<uint32_t>(sample.num_features),
                          .min_points = flags.min_points,
                          .frames = static_cast<uint32_t>(samples.size())};
  KD_ASSIGN_OR_RETURN(info.digest, dataset.Digest(flags.data.split));
  const auto opened_writer = ObjectDatabaseWriter::Open(flags.out, flags.data.split, info);
  if (absl::IsAlreadyExists(opened_writer.status())) {
    Say(absl::StrCat(opened_writer.status().message(), ": nothing to do"));
    return absl::OkStatus();
  }
  KD_RETURN_IF_ERROR(opened_writer.status());
  ObjectDatabaseWriter& writer = **opened_writer;
  const uint32_t done = writer.frames_done();
  if (done > 0) Say(absl::StrCat(done, " of ", samples.size(), " frames are there already"));
  KD_RETURN_IF_ERROR(ForEachFrame(dataset, samples, done, "cut objects out of",
                                  [&](size_t, size_t index, absl::StatusOr<Frame> frame) -> absl::Status {
                                    KD_RETURN_IF_ERROR(frame.status());
                                    return writer.Add(static_cast<uint32_t>(index),
                                                      CutObjects(*frame, flags.min_points));
                                  }));
  return writer.Finish();
}

int Run(const PrepareFlags& flags) {
  const absl::Status status = Prepare(flags);
  if (!status.ok()) {
    return ReportError(status,
                       "mend what is named and run it again; frames that are done are kept. kdctl data check "
                       "lists all that is broken");
  }
  std::cout << flags.out << "/" << flags.data.split << ".objects\n";
  return kExitOk;
}

}  // namespace

void AddDataPrepareCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<PrepareFlags>();
  CLI::App* command =
      app.get_subcommand("data")->add_subcommand("prepare", "Cut the objects of a split out, to paste them elsewhere");
  AddDataFlags(*command, flags->data);
  command->add_option("--out", flags->out, "Folder to write")->required();
  command->add_option("--min-points", flags->min_points, "Leave out objects with fewer points")->capture_default_str();
  command->callback([&session, flags] { session.exit_code = Run(*flags); });
}

}  // namespace kd
