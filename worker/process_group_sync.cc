#include "worker/process_group_sync.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "torch/csrc/distributed/c10d/ProcessGroup.hpp"
#include "torch/csrc/distributed/c10d/ProcessGroupGloo.hpp"
#include "torch/csrc/distributed/c10d/comm.hpp"
#include "torch/csrc/distributed/c10d/reducer.hpp"
#ifdef KD_CUDA
#include "torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp"
#endif
#include "worker/rendezvous_store.h"

namespace kd {
namespace {

constexpr char kLoopback[] = "127.0.0.1";
// Students are of a few MB: of smaller buckets, all but the last travel while the backward pass goes on.
constexpr size_t kBucketBytes = 4 << 20;

// Equal for processes that share a loopback interface.
std::string HostIdentity() {
  std::error_code ignored;
  const absl::StatusOr<std::string> boot = ReadFile("/proc/sys/kernel/random/boot_id");
  return absl::StrCat(boot.value_or("unknown"), std::filesystem::read_symlink("/proc/self/ns/net", ignored).string());
}

std::shared_ptr<gloo::transport::Device> GlooDevice(bool all_here) {
  if (all_here) return c10d::ProcessGroupGloo::createDeviceForHostname(kLoopback);
  const char* const interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr) return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

absl::Status CollectiveError(absl::string_view message) {
  absl::string_view line = message.substr(0, message.find('\n'));
  // Gloo begins with its source file.
  if (absl::StartsWith(line, "[/") && absl::StrContains(line, "] ")) line.remove_prefix(line.find("] ") + 2);
  const std::string lower = absl::AsciiStrToLower(line);
  const bool late = absl::StrContains(lower, "timed out") || absl::StrContains(lower, "timeout");
  return late ? absl::DeadlineExceededError(line) : absl::UnavailableError(line);
}

// The reducer warns of what is usual here: all parameters are used, and gradients of 1x1 kernels have strides of their
// own.
class Quiet : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

}  // namespace

struct ProcessGroupSync::Group {
  c10::intrusive_ptr<c10d::ProcessGroup> processes;
  std::unique_ptr<c10d::Reducer> reducer;
};

absl::StatusOr<std::unique_ptr<ProcessGroupSync>> ProcessGroupSync::Create(const ProcessGroupOptions& options,
                                                                           Rendezvous& rendezvous) {
  std::unique_ptr<ProcessGroupSync> sync(new ProcessGroupSync(options, rendezvous));
  KD_RETURN_IF_ERROR(sync->Meet());
  KD_RETURN_IF_ERROR(sync->Connect());
  return sync;
}

ProcessGroupSync::ProcessGroupSync(const ProcessGroupOptions& options, Rendezvous& rendezvous)
    : options_(options), rendezvous_(rendezvous), group_(std::make_unique<Group>()) {}

ProcessGroupSync::~ProcessGroupSync() = default;

std::string ProcessGroupSync::KeyOf(absl::string_view what, uint32_t rank) const {
  return absl::StrCat(options_.prefix, what, "/", rank);
}

std::vector<std::string> ProcessGroupSync::KeysOfAll(absl::string_view what) const {
  std::vector<std::string> keys;
  for (uint32_t rank = 0; rank < options_.world_size; ++rank) keys.push_back(KeyOf(what, rank));
  return keys;
}

absl::Status ProcessGroupSync::Meet() {
  const std::string operation = absl::StrCat("rank ", rank(), " of ", world_size(), ": meeting the other ranks");
  const std::string here = HostIdentity();
  KD_RETURN_IF_ERROR(Annotate(rendezvous_.Set(KeyOf("rank", rank()), here), operation));
  const auto hosts = rendezvous_.Get(KeysOfAll("rank"), absl::Now() + options_.timeout);
  KD_RETURN_IF_ERROR(Annotate(hosts.status(), operation));
  ranks_here_ = static_cast<uint32_t>(std::count(hosts->begin(), hosts->end(), here));
  return absl::OkStatus();
}

absl::Status ProcessGroupSync::Connect() {
  return Run("connecting to the other ranks", [this] {
    const auto timeout = absl::ToChronoMilliseconds(options_.timeout);
    const int self = static_cast<int>(rank()), size = static_cast<int>(world_size());
    const auto store = NewRendezvousStore(rendezvous_, options_.prefix + "c10d/", options_.timeout);
    group_->processes = c10::make_intrusive<c10d::ProcessGroup>(store, self, size);
    c10::intrusive_ptr<c10d::Backend> backend;
    auto type = c10d::ProcessGroup::BackendType::GLOO;
    if (options_.device.is_cpu()) {
      const auto gloo = c10d::ProcessGroupGloo::Options::create(timeout);
      gloo->devices.push_back(GlooDevice(ranks_here_ == world_size()));
      backend = c10::make_intrusive<c10d::ProcessGroupGloo>(store, self, size, gloo);
    } else {
#ifdef KD_CUDA
      const auto nccl = c10d::ProcessGroupNCCL::Options::create();
      nccl->timeout = timeout;
      backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, self, size, nccl);
      type = c10d::ProcessGroup::BackendType::NCCL;
#else
      throw StatusException(absl::UnimplementedError("this program was built without NCCL"));
#endif
    }
    group_->processes->setBackend(options_.device.type(), type, backend);
    group_->processes->setDefaultBackend(type);
  });
}

absl::Status ProcessGroupSync::Broadcast(const std::vector<torch::Tensor>& tensors) {
  if (tensors.empty()) return absl::OkStatus();
  return Run("broadcast", [&] {
    torch::NoGradGuard no_grad;
    c10d::broadcast_coalesced(group_->processes, tensors, kBucketBytes);
  });
}

absl::Status ProcessGroupSync::Attach(const std::vector<torch::Tensor>& parameters) {
  return Run("preparing the reduction of gradients", [&] {
    auto buckets = std::get<0>(
        c10d::compute_bucket_assignment_by_size(parameters, {c10d::kDefaultFirstBucketBytes, kBucketBytes}));
    // Gradients come from the last layer to the first.
    std::reverse(buckets.begin(), buckets.end());
    group_->reducer = std::make_unique<c10d::Reducer>(
        parameters, std::move(buckets), group_->processes, std::vector<bool>(parameters.size(), false),
        static_cast<int64_t>(kBucketBytes), /*find_unused_parameters=*/true, /*gradient_as_bucket_view=*/false,
        std::unordered_map<size_t, std::string>(), c10d::kDefaultFirstBucketBytes,
        /*skip_all_reduce_unused_params=*/false,
        /*use_python_reducer=*/false, std::vector<int64_t>());
  });
}

absl::Status ProcessGroupSync::Backward(const torch::Tensor& loss) {
  return Run("averaging gradients", [&] {
    Quiet quiet;
    const c10::WarningUtils::WarningHandlerGuard guard(&quiet);
    group_->reducer->prepare_for_backward({loss});
    loss.backward();
  });
}

absl::Status ProcessGroupSync::Finish() {
  const std::string operation =
      absl::StrCat("rank ", rank(), " of ", world_size(), ": waiting for the other ranks to finish");
  KD_RETURN_IF_ERROR(Annotate(rendezvous_.Set(KeyOf("finished", rank()), ""), operation));
  return Annotate(rendezvous_.Get(KeysOfAll("finished"), absl::Now() + options_.timeout).status(), operation);
}

template <typename Body>
absl::Status ProcessGroupSync::Run(absl::string_view operation, const Body& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const StatusException& e) {
    return Explain(operation, e.status());
  } catch (const c10::OutOfMemoryError& e) {
    return Explain(operation, absl::ResourceExhaustedError(e.what_without_backtrace()));
  } catch (const c10::DistError& e) {
    return Explain(operation, CollectiveError(e.what_without_backtrace()));
  } catch (const c10::Error& e) {
    return Explain(operation, absl::InternalError(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    // Gloo's own, and what the threads of a group make of them.
    return Explain(operation, CollectiveError(e.what()));
  }
}

// c10d names addresses at best. Ranks that are alive fail too and say so; who does not is the one to look at.
absl::Status ProcessGroupSync::Explain(absl::string_view operation, const absl::Status& status) {
  const absl::Status about = Annotate(status, absl::StrCat("rank ", rank(), " of ", world_size(), ": ", operation));
  absl::Status told = rendezvous_.Set(KeyOf("failed", rank()), "");
  if (told.ok()) told = rendezvous_.Get(KeysOfAll("failed"), absl::Now() + options_.inquiry).status();
  // What a rank of an ended generation saw is of no interest.
  if (absl::IsAborted(told)) return told;
  std::vector<uint32_t> silent;
  for (uint32_t other = 0; other < world_size(); ++other) {
    if (!rendezvous_.Check({KeyOf("failed", other)}).value_or(/*unknown=*/true)) silent.push_back(other);
  }
  if (silent.empty()) return about;
  return absl::Status(about.code(), absl::StrCat(about.message(), "; no word from rank ", absl::StrJoin(silent, ", "),
                                                 " within ", absl::FormatDuration(options_.inquiry)));
}

}  // namespace kd
