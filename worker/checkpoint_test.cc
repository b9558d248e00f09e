#include "worker/checkpoint.h"

#include <fstream>
#include <string>

#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "models/detector.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A run in miniature: whatever it holds is small enough to be damaged in every place.
class CheckpointTest : public ::testing::Test {
 protected:
  struct Run {
    torch::nn::Linear student = torch::nn::Linear(2, 2), methods = torch::nn::Linear(1, 1);
    AdamOneCycle optimizer{{{"student.weight", student->weight}, {"methods.weight", methods->weight}},
                           {.total_steps = 10}};
  };

  CheckpointTest() {
    torch::manual_seed(5);
    saved_ = std::make_unique<Run>();
    EXPECT_THAT(SaveCheckpoint(path_, 7, *saved_->student, *saved_->methods, saved_->optimizer), IsOk());
    good_ = *ReadFile(path_);
    good_state_ = StateOf(*saved_);
    torch::manual_seed(6);
    run_ = std::make_unique<Run>();
  }

  absl::StatusOr<uint64_t> LoadBytes(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return LoadCheckpoint(path_, *run_->student, *run_->methods, run_->optimizer);
  }
  absl::StatusOr<uint64_t> LoadFile(const SafeTensorsFile& file) { return LoadBytes(SerializeSafeTensors(file)); }
  // Everything that a checkpoint holds, as `run` has it now.
  static std::string StateOf(Run& run) {
    SafeTensorsFile file;
    run.optimizer.SaveTo(file);
    file.tensors["random"] = FromTorch(at::detail::getDefaultCPUGenerator().get_state());
    return SerializeSafeTensors(StateDict(*run.student)) + SerializeSafeTensors(StateDict(*run.methods)) +
           SerializeSafeTensors(file);
  }
  std::string State() { return StateOf(*run_); }

  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "step-7.safetensors";
  std::unique_ptr<Run> saved_, run_;
  std::string good_, good_state_;
};

TEST_F(CheckpointTest, RestoresAllThatItSaved) {
  ASSERT_NE(State(), good_state_);
  EXPECT_THAT(LoadBytes(good_), IsOkAndHolds(7u));
  EXPECT_EQ(State(), good_state_);
}

TEST_F(CheckpointTest, AMissingOneIsNamed) {
  EXPECT_THAT(LoadCheckpoint(folder_ / "none", *run_->student, *run_->methods, run_->optimizer),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(folder_ / "none")));
}

TEST_F(CheckpointTest, OneOfAnotherStudentChangesNothing) {
  const SafeTensorsFile good = *ParseSafeTensors(good_);
  const std::string before = State();
  const auto refused = [&](const SafeTensorsFile& file, const std::string& problem) {
    const auto step = LoadFile(file);
    EXPECT_THAT(step, StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr("checkpoint \"" + path_ + "\" cannot be used"), HasSubstr(problem),
                                     HasSubstr("; delete it to go on from an earlier one"))));
    EXPECT_THAT(step.status().message(), IsOneLine());
    EXPECT_EQ(State(), before) << problem;
  };
  for (const auto& [name, tensor] : good.tensors) {
    SafeTensorsFile file = good;
    file.tensors.erase(name);
    refused(file, name == "random_state" ? "generator's state" : name.substr(name.find('.') + 1));
  }
  SafeTensorsFile file = good;
  file.tensors["student.weight"].dtype = "I32";
  refused(file, "weight has numbers of type I32");
  file = good;
  file.tensors["student.weight"].shape = {4};
  refused(file, "weight has shape [4], expected [2, 2]");
  file = good;
  file.tensors["random_state"].bytes.assign(file.tensors["random_state"].bytes.size(), '\xff');
  refused(file, "generator's state");
  for (const char* step : {"", "-1", "7.5", "18446744073709551615"}) {
    file = good;
    file.metadata["kd.step"] = step;
    refused(file, "it names no step");
  }
}

TEST_F(CheckpointTest, HostileBytesAreDataLossWithARemedyAndChangeNothing) {
  std::string before = State();
  int loaded = 0, refused = 0, asked = 0;
  ForHostileInput(good_, 2000, [&](const std::string& bytes) {
    // Every eighth: most of the file is the generator's state, and files take time.
    if (++asked % 8 != 0) return;
    const auto step = LoadBytes(bytes);
    if (step.ok()) {
      ++loaded;
      before = State();
      return;
    }
    ++refused;
    ASSERT_THAT(step, StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path_), HasSubstr("delete it to go on"))));
    ASSERT_THAT(step.status().message(), IsOneLine());
    ASSERT_EQ(State(), before);
  });
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace kd
