// Ranks in processes of their own: c10d's groups (Gloo between CPUs, NCCL between GPUs) and its bucketed reducer.
#ifndef KD_WORKER_PROCESS_GROUP_SYNC_H_
#define KD_WORKER_PROCESS_GROUP_SYNC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/coordinator/rendezvous.h"
#include "worker/gradient_sync.h"

namespace kd {

struct ProcessGroupOptions {
  uint32_t rank = 0;
  uint32_t world_size = 1;
  // "JOB/GENERATION/" (fleet_names.h): ranks of another generation never meet these.
  std::string prefix;
  // Where parameters live: CPU or CUDA.
  torch::Device device = torch::kCPU;
  // For all ranks to come and for every collective; longer than a rank may rightly take between two of them, which is
  // as long as it may wait for data or for the coordinator to take a checkpoint. A rank that dies is noticed at once.
  absl::Duration timeout = absl::Minutes(5);
  // After a failure, how long the other ranks have to say that they are alive.
  absl::Duration inquiry = absl::Seconds(3);
};

class ProcessGroupSync : public GradientSync {
 public:
  // Meets the other ranks and connects to them, over the loopback interface when all are on this machine; otherwise
  // over the interface that GLOO_SOCKET_IFNAME names, or the one of the host's name. `rendezvous` outlives the result.
  // DEADLINE_EXCEEDED names the ranks that did not come. Others as from every call of GradientSync.
  static absl::StatusOr<std::unique_ptr<ProcessGroupSync>> Create(const ProcessGroupOptions& options,
                                                                  Rendezvous& rendezvous);
  // May take as long as a collective that still runs.
  ~ProcessGroupSync() override;

  uint32_t rank() const override { return options_.rank; }
  uint32_t world_size() const override { return options_.world_size; }
  // Ranks on this machine, this one among them.
  uint32_t ranks_here() const { return ranks_here_; }

  absl::Status Broadcast(const std::vector<torch::Tensor>& tensors) override;
  absl::Status Attach(const std::vector<torch::Tensor>& parameters) override;
  absl::Status Backward(const torch::Tensor& loss) override;
  absl::Status Finish() override;

 private:
  ProcessGroupSync(const ProcessGroupOptions& options, Rendezvous& rendezvous);
  absl::Status Meet();
  absl::Status Connect();
  std::string KeyOf(absl::string_view what, uint32_t rank) const;
  std::vector<std::string> KeysOfAll(absl::string_view what) const;
  // Runs what c10d does under `operation`. The one place where its exceptions become a status.
  template <typename Body>
  absl::Status Run(absl::string_view operation, const Body& body);
  absl::Status Explain(absl::string_view operation, const absl::Status& status);

  const ProcessGroupOptions options_;
  Rendezvous& rendezvous_;
  uint32_t ranks_here_ = 1;
  struct Group;
  std::unique_ptr<Group> group_;
};

}  // namespace kd

#endif  // KD_WORKER_PROCESS_GROUP_SYNC_H_
