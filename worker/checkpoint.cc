#include "worker/checkpoint.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "models/detector.h"

namespace kd {
namespace {

constexpr char kStepKey[] = "kd.step";
constexpr char kRandomState[] = "random_state";
constexpr uint64_t kMaxStep = uint64_t{1} << 62;

void AddUnder(absl::string_view prefix, torch::nn::Module& module, SafeTensorsFile& file) {
  for (auto& [name, tensor] : StateDict(module).tensors) file.tensors[absl::StrCat(prefix, name)] = std::move(tensor);
}

SafeTensorsFile TakeFrom(absl::string_view prefix, const SafeTensorsFile& file) {
  SafeTensorsFile part;
  for (const auto& [name, tensor] : file.tensors) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, prefix)) part.tensors[std::string(rest)] = tensor;
  }
  return part;
}

absl::Status CheckRandomState(const torch::Tensor& state) {
  try {
    at::detail::createCPUGenerator().set_state(state);
  } catch (const c10::Error&) {
    return absl::InvalidArgumentError("its generator's state is damaged");
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Restore(const std::string& bytes, torch::nn::Module& student, torch::nn::Module& methods,
                                 AdamOneCycle& optimizer) {
  KD_ASSIGN_OR_RETURN(const SafeTensorsFile file, ParseSafeTensors(bytes));
  const auto text = file.metadata.find(kStepKey);
  uint64_t step;
  if (text == file.metadata.end() || !absl::SimpleAtoi(text->second, &step) || step > kMaxStep)
    return absl::InvalidArgumentError("it names no step");
  const auto random = file.tensors.find(kRandomState);
  if (random == file.tensors.end() || random->second.dtype != "U8")
    return absl::InvalidArgumentError("it lacks the generator's state");
  const SafeTensorsFile student_file = TakeFrom("student.", file), methods_file = TakeFrom("methods.", file);
  const torch::Tensor random_state = ToTorch(random->second);
  // Everything is checked before anything is changed. The optimiser does the same for its own part.
  KD_RETURN_IF_ERROR(FitsStateDict(student_file, student));
  KD_RETURN_IF_ERROR(FitsStateDict(methods_file, methods));
  KD_RETURN_IF_ERROR(CheckRandomState(random_state));
  KD_RETURN_IF_ERROR(optimizer.LoadFrom(file, static_cast<int64_t>(step)));
  KD_RETURN_IF_ERROR(LoadStateDict(student_file, student));
  KD_RETURN_IF_ERROR(LoadStateDict(methods_file, methods));
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_state(random_state);
  return step;
}

}  // namespace

absl::StatusOr<std::string> SaveCheckpoint(const std::string& path, uint64_t step, torch::nn::Module& student,
                                           torch::nn::Module& methods, const AdamOneCycle& optimizer) {
  SafeTensorsFile file;
  file.metadata[kStepKey] = absl::StrCat(step);
  AddUnder("student.", student, file);
  AddUnder("methods.", methods, file);
  optimizer.SaveTo(file);
  file.tensors[kRandomState] = FromTorch(at::detail::getDefaultCPUGenerator().get_state());
  const std::string bytes = SerializeSafeTensors(file);
  KD_RETURN_IF_ERROR(WriteFileAtomically(path, bytes));
  return Sha256Digest(bytes);
}

absl::StatusOr<uint64_t> LoadCheckpoint(const std::string& path, torch::nn::Module& student, torch::nn::Module& methods,
                                        AdamOneCycle& optimizer) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const absl::StatusOr<uint64_t> step = Restore(bytes, student, methods, optimizer);
  if (!step.ok()) {
    return absl::DataLossError(absl::StrCat("checkpoint \"", path, "\" cannot be used: ", step.status().message(),
                                            "; delete it to go on from an earlier one"));
  }
  return step;
}

}  // namespace kd
