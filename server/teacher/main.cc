// kd-teacher: serves a frozen detector's answers.
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "base/file.h"
#include "base/http/http_address.h"
#include "base/http/ops_endpoints.h"
#include "base/log.h"
#include "base/program.h"
#include "base/status.h"
#include "base/stop_signals.h"
#include "distill/teacher_model.h"
#include "models/device.h"
#include "prometheus/registry.h"
#include "server/teacher/cache_metrics.h"
#include "server/teacher/registration.h"
#include "server/teacher/response_engine.h"
#include "server/teacher/teacher_service.h"
#include "storage/memory/memory_response_store.h"
#include "storage/rocksdb/rocksdb_response_store.h"
#include "storage/tiered_response_store.h"

namespace kd {
namespace {

struct Flags {
  std::string weights, digest, listen = "127.0.0.1:0", ops_listen = "127.0.0.1:0", cache_folder, address_file,
                               coordinator;
  uint64_t memory_cache_bytes = uint64_t{256} << 20, disk_cache_bytes = uint64_t{20} << 30;
  size_t max_batch = 4;
};

constexpr uint32_t kBaseTopK = 500;

// Cheap records that students of most methods share.
v1::ResponsePlan BasePlan(const v1::Detector& detector) {
  v1::ResponsePlan plan;
  const auto add = [&](const std::string& tensor, v1::Selection selection, uint32_t top_k) {
    v1::ResponsePlan::Item* item = plan.add_items();
    item->set_tensor(tensor);
    item->set_selection(selection);
    item->set_dtype(v1::DATA_TYPE_FLOAT32);
    item->set_top_k(top_k);
  };
  const int heads = detector.has_dense_head() ? std::max(1, detector.dense_head().class_names_each_head_size()) : 0;
  for (int head = 0; head < heads; ++head) add(absl::StrCat("hm.", head), v1::SELECTION_PIVOTAL, kBaseTopK);
  add("boxes", v1::SELECTION_OBJECTS, 0);
  return plan;
}

absl::StatusOr<std::unique_ptr<TeacherModel>> Load(const Flags& flags) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(flags.weights));
  KD_ASSIGN_OR_RETURN(std::unique_ptr<TeacherModel> model, TeacherModel::Create(bytes));
  if (!flags.digest.empty() && flags.digest != model->digest()) {
    return absl::FailedPreconditionError(
        absl::StrCat("\"", flags.weights, "\" is ", model->digest(), ", not ", flags.digest, " as asked for"));
  }
  return model;
}

// `registration` is null without a coordinator.
absl::Status Serve(const Flags& flags, const StopSignals& stop_signals, std::unique_ptr<TeacherModel> model,
                   TeacherRegistration* registration) {
  const bool invariant = model->AnswersAreBatchInvariant();
  if (!invariant) LogWarning("answers differ between batches: every view is computed alone");

  const std::unique_ptr<ResponseStore> memory = NewMemoryResponseStore(flags.memory_cache_bytes);
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<ResponseStore> disk,
                      OpenRocksDbResponseStore(flags.cache_folder, flags.disk_cache_bytes));
  const std::unique_ptr<ResponseStore> store = NewTieredResponseStore(*memory, *disk);
  const auto registry = std::make_shared<prometheus::Registry>();
  ResponseEngine engine(
      {.max_batch = invariant ? flags.max_batch : 1, .base_plan = BasePlan(model->detector())},
      [&](const std::vector<const Frame*>& views, const v1::ResponsePlan& plan) { return model->Answer(views, plan); },
      *store, *registry);
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<TeacherServer> server, TeacherServer::Start({.listen = flags.listen,
                                                                                         .digest = model->digest(),
                                                                                         .detector = model->detector(),
                                                                                         .batch_invariant = invariant},
                                                                                        engine, *memory, *disk));
  HttpRoutes routes;
  AddOpsEndpoints(NewCacheMetrics(registry, *memory, *disk), [] { return absl::OkStatus(); }, routes);
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> ops, HttpServer::Start({.listen = flags.ops_listen}, routes));
  if (registration != nullptr) registration->SetReady(server->address(), "http://" + ops->address());
  if (!flags.address_file.empty()) KD_RETURN_IF_ERROR(WriteFileAtomically(flags.address_file, server->address()));
  LogInfo("serving ", model->digest(), " on ", server->address(), ", metrics on http://", ops->address(), "/metrics");
  stop_signals.Wait();
  LogInfo("stopping; the cache in ", flags.cache_folder, " is kept");
  return absl::OkStatus();
}

absl::Status Run(const Flags& flags, const StopSignals& stop_signals) {
  KD_RETURN_IF_ERROR(CheckLoopback("--listen", flags.listen));
  KD_RETURN_IF_ERROR(CheckLoopback("--ops-listen", flags.ops_listen));
  std::unique_ptr<TeacherRegistration> registration;
  if (!flags.coordinator.empty()) {
    registration =
        std::make_unique<TeacherRegistration>(flags.coordinator, flags.digest, [](const std::string& reason) {
          LogWarning(reason);
          ::kill(::getpid(), SIGTERM);
        });
  }
  absl::StatusOr<std::unique_ptr<TeacherModel>> model = Load(flags);
  if (!model.ok()) {
    // Another try may mend anything but the weights: the process ends and is started again.
    if (registration != nullptr && !absl::IsUnavailable(model.status()))
      registration->Refuse(std::string(model.status().message()));
    return model.status();
  }
  return Serve(flags, stop_signals, *std::move(model), registration.get());
}

int Main(int argc, char** argv) {
  KeepFreedMemory();
  const StopSignals stop_signals;
  Flags flags;
  CLI::App app{"Serves a frozen detector's answers", "kd-teacher"};
  app.add_option("--weights", flags.weights, "Weights file (model.safetensors)")->required();
  CLI::Option* const digest = app.add_option("--digest", flags.digest, "Refuse weights with another digest");
  app.add_option("--listen", flags.listen, "Loopback address of the Teacher service; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--address-file", flags.address_file, "Write the address here once it serves");
  app.add_option("--ops-listen", flags.ops_listen, "Loopback address of /metrics, /healthz and /readyz")
      ->capture_default_str();
  app.add_option("--cache-folder", flags.cache_folder, "Folder of the disk cache")->required();
  app.add_option("--memory-cache-bytes", flags.memory_cache_bytes, "Budget of the memory tier")->capture_default_str();
  app.add_option("--disk-cache-bytes", flags.disk_cache_bytes, "Budget of the disk tier")->capture_default_str();
  app.add_option("--max-batch", flags.max_batch, "Views per run of the model")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("--coordinator", flags.coordinator, "Address of the coordinator that this teacher belongs to")
      ->needs(digest);
  return RunProgram(app, argc, argv, [&] { return Run(flags, stop_signals); });
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
