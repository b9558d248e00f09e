// Frames in memory as a data set, and its object database. Tests only.
#ifndef KD_DATA_FAKE_DATASET_H_
#define KD_DATA_FAKE_DATASET_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status.h"
#include "data/dataset.h"
#include "data/object_database.h"
#include "data/view.h"

namespace kd {

// One split, "train". The digest is of the frames' names, points and boxes.
class FakeDataset : public Dataset {
 public:
  FakeDataset(std::vector<std::string> class_names, std::vector<Frame> frames)
      : class_names_(std::move(class_names)), frames_(std::move(frames)) {}

  absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const override {
    if (split != "train") return absl::NotFoundError(absl::StrCat("no split \"", split, "\"; there is: train"));
    std::vector<std::string> names;
    for (const Frame& frame : frames_) names.push_back(frame.sample);
    return names;
  }
  absl::StatusOr<Frame> Read(const std::string& sample) const override {
    for (const Frame& frame : frames_) {
      if (frame.sample == sample) return frame;
    }
    return absl::NotFoundError(absl::StrCat("no frame \"", sample, "\""));
  }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  absl::StatusOr<std::string> Digest(const std::string&) const override {
    std::string text;
    for (const std::string& name : class_names_) absl::StrAppend(&text, name, "\n");
    for (const Frame& frame : frames_) absl::StrAppend(&text, frame.sample, " ", ViewChecksum(frame), "\n");
    return Sha256Digest(text);
  }

 private:
  const std::vector<std::string> class_names_;
  const std::vector<Frame> frames_;
};

// What kdctl data prepare does with a split. `dataset` must be whole.
inline absl::Status WriteObjectDatabase(const Dataset& dataset, const std::string& split, const std::string& folder,
                                        uint32_t min_points = 5) {
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, dataset.Split(split));
  KD_ASSIGN_OR_RETURN(const Frame first, dataset.Read(samples.at(0)));
  ObjectDatabaseInfo info{.class_names = dataset.class_names(),
                          .point_columns = static_cast<uint32_t>(first.num_features),
                          .min_points = min_points,
                          .frames = static_cast<uint32_t>(samples.size())};
  KD_ASSIGN_OR_RETURN(info.digest, dataset.DigestWithoutCrop(split));
  KD_ASSIGN_OR_RETURN(const auto writer, ObjectDatabaseWriter::Open(folder, split, info));
  for (uint32_t i = 0; i < samples.size(); ++i) {
    KD_ASSIGN_OR_RETURN(const Frame frame, dataset.Read(samples[i]));
    KD_RETURN_IF_ERROR(writer->Add(i, CutObjects(frame, min_points)));
  }
  return writer->Finish();
}

}  // namespace kd

#endif  // KD_DATA_FAKE_DATASET_H_
