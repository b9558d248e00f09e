// kdctl data prepare: objects cut out of a split, to be pasted into other frames.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "client/data_source.h"
#include "client/session.h"
#include "data/object_database.h"
#include "data/survey.h"

namespace kd {
namespace {

// Of each class, in the lines for a job file.
constexpr uint32_t kObjectsToPaste = 10;

struct PrepareFlags {
  DataFlags data;
  std::string out;
  uint32_t min_points = 5;
};

// Numbers a point. Errors: of the first frame, where none can be read.
absl::StatusOr<uint32_t> PointColumns(const Dataset& dataset, const std::vector<std::string>& samples) {
  absl::Status first;
  for (const std::string& sample : samples) {
    const absl::StatusOr<Frame> frame = dataset.Read(sample);
    if (frame.ok()) return static_cast<uint32_t>(frame->num_features);
    first.Update(frame.status());
    if (!absl::IsDataLoss(frame.status())) break;
  }
  return first;
}

// Makes the database. ALREADY_EXISTS: it is there. DATA_LOSS: no frame can be read. Other errors end it before its
// time; frames that are done stay.
absl::Status Prepare(const PrepareFlags& flags, const Dataset& dataset, const std::vector<std::string>& samples) {
  ObjectDatabaseInfo info{.class_names = dataset.class_names(),
                          .min_points = flags.min_points,
                          .frames = static_cast<uint32_t>(samples.size())};
  KD_ASSIGN_OR_RETURN(info.digest, dataset.Digest(flags.data.split));
  KD_ASSIGN_OR_RETURN(info.point_columns, PointColumns(dataset, samples));
  const auto opened = ObjectDatabaseWriter::Open(flags.out, flags.data.split, info);
  KD_RETURN_IF_ERROR(opened.status());
  ObjectDatabaseWriter& writer = **opened;
  const uint32_t done = writer.frames_done();
  if (done > 0) Say(absl::StrCat(done, " of ", samples.size(), " frames are there already"));
  KD_RETURN_IF_ERROR(ForEachFrame(dataset, samples, done, "cut objects out of",
                                  [&](size_t, size_t index, absl::StatusOr<Frame> frame) {
                                    const auto number = static_cast<uint32_t>(index);
                                    if (frame.ok()) return writer.Add(number, CutObjects(*frame, flags.min_points));
                                    // A damaged file stays damaged; whatever else is wrong may be another way next
                                    // time.
                                    return absl::IsDataLoss(frame.status()) ? writer.AddUnread(number) : frame.status();
                                  }));
  return writer.Finish();
}

// Adds what can be read by now to the finished database, and returns the frames that it has nothing of, with what is
// wrong with them.
absl::StatusOr<SkippedFrames> MendAndFindSkipped(const PrepareFlags& flags, const Dataset& dataset,
                                                 const std::vector<std::string>& samples) {
  KD_ASSIGN_OR_RETURN(const ObjectDatabase database, ObjectDatabase::Open(flags.out, flags.data.split));
  SkippedFrames skipped;
  std::set<uint32_t> mended;
  for (const uint32_t number : database.unread()) {
    const absl::StatusOr<Frame> frame = dataset.Read(samples.at(number));
    frame.ok() ? void(mended.insert(number)) : skipped.Add(samples[number], frame.status());
  }
  if (mended.empty()) return skipped;
  Say(absl::StrCat("adding ", mended.size(), mended.size() == 1 ? " frame" : " frames", " that can be read by now"));
  const auto cut = [&](uint32_t number) -> absl::StatusOr<std::optional<std::vector<DatabaseObject>>> {
    if (!mended.contains(number)) return std::nullopt;
    KD_ASSIGN_OR_RETURN(const Frame frame, dataset.Read(samples[number]));
    return CutObjects(frame, flags.min_points);
  };
  KD_RETURN_IF_ERROR(AddMendedFrames(flags.out, flags.data.split, cut));
  return skipped;
}

// `text` as a value in YAML's flow style.
std::string YamlText(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/';
  });
  return plain ? text : absl::StrCat("\"", absl::Utf8SafeCHexEscape(text), "\"");
}

// What pastes the objects, as it stands in a job file.
std::string JobLines(const PrepareFlags& flags, const Dataset& dataset) {
  const auto append = [](std::string* out, const std::string& text) { absl::StrAppend(out, YamlText(text)); };
  const std::vector<std::string>& classes = dataset.class_names();
  return absl::StrCat("in the job file, data: {train_split: ", YamlText(flags.data.split), ", class_names: [",
                      absl::StrJoin(classes, ", ", append), "], augmentation: {objects: ",
                      YamlText(std::filesystem::absolute(flags.out).lexically_normal().string()), ", paste: [",
                      absl::StrJoin(std::vector<uint32_t>(classes.size(), kObjectsToPaste), ", "), "]}}");
}

constexpr char kNameData[] = "name a data set that is there: --data ROOT --format FORMAT --split SPLIT";

int Run(const PrepareFlags& flags) {
  const absl::StatusOr<OpenedData> data = OpenData(flags.data);
  if (!data.ok()) return ReportError(data.status(), kNameData);
  const Dataset& dataset = *data->dataset;
  if (flags.data.classes.empty() && data->data.format() == "custom") {
    Say(absl::StrCat(
        "classes: ", absl::StrJoin(dataset.class_names(), ","),
        ", as the labels name them; a job takes no others than its class_names in its order, which --classes gives"));
  }
  const absl::StatusOr<std::vector<std::string>> samples = dataset.Split(flags.data.split);
  if (!samples.ok()) return ReportError(samples.status(), kNameData);
  if (samples->empty()) {
    return ReportError(absl::InvalidArgumentError(absl::StrCat("split \"", flags.data.split, "\" names no frame")),
                       kNameData);
  }
  const absl::Status made = Prepare(flags, dataset, *samples);
  if (!made.ok() && !absl::IsAlreadyExists(made)) {
    return ReportError(made,
                       "mend what is named and run it again; frames that are done are kept. kdctl data check "
                       "lists all that is broken");
  }
  const absl::StatusOr<SkippedFrames> skipped = MendAndFindSkipped(flags, dataset, *samples);
  const std::string path = absl::StrCat(flags.out, "/", flags.data.split, ".objects");
  if (!skipped.ok()) return ReportError(skipped.status(), absl::StrCat("delete ", path, " and run it again"));
  if (skipped->count > 0) {
    for (const std::string& line : skipped->Lines()) Say(line);
    return ReportError(
        absl::FailedPreconditionError(absl::StrCat(path, " is complete but for ", skipped->count, " of ",
                                                   samples->size(), " frames, which could not be read")),
        absl::StrCat(
            "mend their files and run it again; where that gives a file another size, and when you take frames "
            "out of the split instead, delete ",
            path, " before"));
  }
  if (!made.ok()) Say(absl::StrCat(made.message(), ": nothing to do"));
  std::cout << path << "\n";
  SayNext(JobLines(flags, dataset));
  return kExitOk;
}

}  // namespace

void AddDataPrepareCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<PrepareFlags>();
  CLI::App* command =
      app.get_subcommand("data")->add_subcommand("prepare", "Cut the objects of a split out, to paste them elsewhere");
  AddDataFlags(*command, flags->data);
  command->get_option("--classes")
      ->description("The job's class_names in its order, separated by commas; default: all usual ones");
  command->add_option("--out", flags->out, "Folder to write")->required();
  command->add_option("--min-points", flags->min_points, "Leave out objects with fewer points")->capture_default_str();
  command->footer(
      "Examples:\n"
      "  kdctl data prepare --data out/sim --classes Car,Pedestrian,Cyclist --out out/sim-objects\n"
      "  kdctl data prepare --data out/nuscenes --split mini_train --classes car,pedestrian --out "
      "out/nuscenes-objects\n"
      "A job names the folder in data.augmentation.objects: docs/object-database.md");
  command->callback([&session, flags] { session.exit_code = Run(*flags); });
}

}  // namespace kd
