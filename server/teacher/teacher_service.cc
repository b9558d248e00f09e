#include "server/teacher/teacher_service.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <future>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/grpc_server.h"
#include "base/grpc_status.h"
#include "base/status.h"
#include "core/detector_config.h"
#include "data/dataset.h"
#include "data/view.h"
#include "kd/v1/teacher.grpc.pb.h"
#include "server/teacher/thread_pool.h"

namespace kd {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

// What the answers of one stream have in common. They may outlive it.
struct StreamWork {
  std::shared_ptr<const ResponseData> data;
  v1::ResponsePlan plan;
  // Nobody reads the answers any more.
  std::atomic<bool> abandoned = false;
};

class Service final : public v1::Teacher::Service {
 public:
  Service(const TeacherServerOptions& options, ResponseEngine& engine, const ResponseStore& memory,
          const ResponseStore& disk, ThreadPool& pool)
      : options_(options), engine_(engine), memory_(memory), disk_(disk), pool_(pool) {}

  grpc::Status StreamResponses(grpc::ServerContext* context, const v1::StreamResponsesRequest* request,
                               grpc::ServerWriter<v1::ResponseChunk>* writer) override {
    return ToGrpcStatus(Stream(*context, *request, *writer));
  }

  grpc::Status GetTeacher(grpc::ServerContext*, const v1::GetTeacherRequest*, v1::TeacherInfo* info) override {
    info->set_digest(options_.digest);
    *info->mutable_detector() = options_.detector;
    info->set_batch_invariant(options_.batch_invariant);
    info->set_forwards_total(engine_.forwards_total());
    return grpc::Status::OK;
  }

  grpc::Status GetCacheStats(grpc::ServerContext*, const v1::GetCacheStatsRequest*, v1::CacheStats* stats) override {
    AddTier("memory", memory_.stats(), *stats);
    AddTier("disk", disk_.stats(), *stats);
    stats->set_forwards_total(engine_.forwards_total());
    return grpc::Status::OK;
  }

 private:
  static void AddTier(const char* name, const ResponseStoreStats& from, v1::CacheStats& stats) {
    v1::CacheStats::Tier* tier = stats.add_tiers();
    tier->set_name(name);
    tier->set_records(from.records);
    tier->set_bytes(from.bytes);
    tier->set_capacity_bytes(from.capacity_bytes);
    tier->set_hits_total(from.hits_total);
    tier->set_misses_total(from.misses_total);
    tier->set_corrupt_total(from.corrupt_total);
    tier->set_read_only(from.read_only);
  }

  // The data set of a request, opened once for all jobs that use it.
  absl::StatusOr<std::shared_ptr<const ResponseData>> Data(const v1::StreamResponsesRequest& request) {
    const std::string name = request.data().SerializeAsString();
    {
      absl::MutexLock lock(&mutex_);
      const auto found = data_.find(name);
      // Files that changed since make another data set.
      const bool same = found != data_.end() && (request.dataset_digest().empty() ||
                                                 request.dataset_digest() == found->second->scope.dataset_digest);
      if (same) return found->second;
    }
    KD_ASSIGN_OR_RETURN(std::unique_ptr<Dataset> dataset, OpenDataset(request.data()));
    KD_ASSIGN_OR_RETURN(ViewMaker views, ViewMaker::Open(request.data(), *dataset));
    KD_ASSIGN_OR_RETURN(const std::string digest, dataset->Digest(request.data().train_split()));
    const ResponseScope scope{.teacher_digest = options_.digest,
                              .dataset_digest = views.FilesDigest(digest),
                              .view_profile = views.Profile(),
                              .answers_revision = AnswersRevision(options_.detector)};
    auto data = std::make_shared<const ResponseData>(ResponseData{std::move(dataset), std::move(views), scope});
    absl::MutexLock lock(&mutex_);
    return data_.insert_or_assign(name, std::move(data)).first->second;
  }

  absl::Status Check(const v1::StreamResponsesRequest& request, const ResponseData& data) const {
    if (request.teacher_digest() != options_.digest) {
      return absl::FailedPreconditionError(absl::StrCat("this teacher is ", options_.digest, ", not ",
                                                        request.teacher_digest(),
                                                        "; ask the coordinator for the right one"));
    }
    if (!request.dataset_digest().empty() && request.dataset_digest() != data.scope.dataset_digest) {
      return absl::FailedPreconditionError(absl::StrCat(
          "data set \"", request.data().root(), "\" is ", data.scope.dataset_digest, " here and ",
          request.dataset_digest(), " at the worker; both must read the same files with the same settings"));
    }
    for (const v1::ViewRef& view : request.views()) {
      if (view.view() > request.data().views()) {
        return absl::InvalidArgumentError(absl::StrCat("frame ", view.sample(), " view ", view.view(),
                                                       ": the job has views 0..", request.data().views()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Stream(grpc::ServerContext& context, const v1::StreamResponsesRequest& request,
                      grpc::ServerWriter<v1::ResponseChunk>& writer) {
    if (request.plan().items().empty()) return absl::InvalidArgumentError("the plan is empty");
    KD_ASSIGN_OR_RETURN(const std::shared_ptr<const ResponseData> data, Data(request));
    KD_RETURN_IF_ERROR(Check(request, *data));
    const auto work = std::make_shared<StreamWork>();
    work->data = data;
    work->plan = request.plan();
    const absl::Cleanup abandon = [&work] { work->abandoned = true; };
    const uint32_t wanted = request.window() == 0 ? options_.window : request.window();
    const int window = static_cast<int>(std::clamp(wanted, 1u, std::max(1u, options_.threads / 2)));
    // Answers worked on ahead of the wire, in order. A slow reader stops its own stream only: nothing is started beyond
    // the window.
    std::deque<std::future<absl::StatusOr<EngineResponse>>> ahead;
    int started = 0;
    for (int index = 0; index < request.views_size(); ++index) {
      while (started < request.views_size() && started < index + window) {
        const v1::ViewRef& view = request.views(started++);
        ahead.push_back(
            pool_.Submit([this, work, sample = view.sample(),
                          number = view.view() + request.view_offset()]() -> absl::StatusOr<EngineResponse> {
              if (work->abandoned) return absl::CancelledError("the worker closed the stream");
              return engine_.Answer(*work->data, sample, number, work->plan);
            }));
      }
      absl::StatusOr<EngineResponse> response = ahead.front().get();
      ahead.pop_front();
      KD_RETURN_IF_ERROR(response.status());
      if (context.IsCancelled()) return absl::CancelledError("the worker closed the stream");
      KD_RETURN_IF_ERROR(Send(static_cast<uint32_t>(index), *response, writer));
    }
    return absl::OkStatus();
  }

  static absl::Status Send(uint32_t index, const EngineResponse& response,
                           grpc::ServerWriter<v1::ResponseChunk>& writer) {
    uint64_t total = 0;
    for (const auto& record : response.records) total += record->size();
    v1::ResponseChunk chunk;
    chunk.set_index(index);
    chunk.set_total_bytes(total);
    chunk.set_from_cache(response.from_cache);
    const auto flush = [&]() -> absl::Status {
      if (!writer.Write(chunk)) return absl::CancelledError("the worker closed the stream");
      chunk.Clear();
      chunk.set_index(index);
      return absl::OkStatus();
    };
    for (const auto& record : response.records) {
      for (size_t at = 0; at < record->size();) {
        const size_t room = std::min(kChunkBytes - chunk.data().size(), record->size() - at);
        chunk.mutable_data()->append(*record, at, room);
        at += room;
        if (chunk.data().size() == kChunkBytes) KD_RETURN_IF_ERROR(flush());
      }
    }
    return chunk.data().empty() && total > 0 ? absl::OkStatus() : flush();
  }

  const TeacherServerOptions options_;
  ResponseEngine& engine_;
  const ResponseStore& memory_;
  const ResponseStore& disk_;
  ThreadPool& pool_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<const ResponseData>> data_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

struct TeacherServer::Impl {
  explicit Impl(size_t threads) : pool(threads) {}

  // Outlives the streams and ends what they left.
  ThreadPool pool;
  std::unique_ptr<Service> service;
  std::unique_ptr<grpc::Server> server;
};

TeacherServer::TeacherServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

TeacherServer::~TeacherServer() {
  // Streams in progress get a moment to notice.
  impl_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
}

absl::StatusOr<std::unique_ptr<TeacherServer>> TeacherServer::Start(const TeacherServerOptions& options,
                                                                    ResponseEngine& engine, const ResponseStore& memory,
                                                                    const ResponseStore& disk) {
  auto impl = std::make_unique<Impl>(std::max(1u, options.threads));
  impl->service = std::make_unique<Service>(options, engine, memory, disk, impl->pool);
  KD_ASSIGN_OR_RETURN(RunningGrpcServer running, StartGrpcServer(options.listen, {impl->service.get()}));
  impl->server = std::move(running.server);
  return std::unique_ptr<TeacherServer>(new TeacherServer(std::move(impl), running.address));
}

}  // namespace kd
