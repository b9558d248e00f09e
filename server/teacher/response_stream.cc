#include "server/teacher/response_stream.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/grpc_channel.h"
#include "base/grpc_status.h"
#include "base/log.h"
#include "base/status.h"
#include "core/record.h"
#include "kd/v1/teacher.grpc.pb.h"

namespace kd {
namespace {

// The views of a long job do not fit into one message.
constexpr int kViewsPerCall = 16384;
constexpr uint64_t kMaxResponseBytes = uint64_t{1} << 30;
constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kLastRetry = absl::Seconds(3);

// Cuts a response's bytes into its records.
absl::StatusOr<std::vector<std::string>> SplitRecords(absl::string_view bytes) {
  std::vector<std::string> records;
  while (!bytes.empty()) {
    KD_ASSIGN_OR_RETURN(const RecordView view, ParseRecord(bytes));
    records.emplace_back(bytes.substr(0, view.size));
    bytes.remove_prefix(view.size);
  }
  return records;
}

// A teacher that went away, was restarted or is overloaded; also bytes damaged on the way.
bool MayPass(const absl::Status& status) {
  return IsRetryable(status) || absl::IsCancelled(status) || absl::IsInternal(status) || absl::IsUnknown(status);
}

}  // namespace

struct ResponseStream::Impl {
  Impl(v1::StreamResponsesRequest all, std::function<absl::StatusOr<std::string>()> find, size_t limit)
      : views(std::make_move_iterator(all.mutable_views()->begin()),
              std::make_move_iterator(all.mutable_views()->end())),
        common(WithoutViews(std::move(all))),
        address(std::move(find)),
        buffered(limit),
        thread([this] { Run(); }) {}

  static v1::StreamResponsesRequest WithoutViews(v1::StreamResponsesRequest request) {
    request.clear_views();
    return request;
  }

  // Reads until the end, an error that stays, or Stop().
  void Run() {
    const int total = static_cast<int>(views.size());
    int next = 0;
    absl::Duration pause = kFirstRetry;
    while (next < total) {
      const int before = next;
      const absl::Status status = ReadFrom(next);
      absl::MutexLock lock(&mutex);
      if (stop) return;
      if (status.ok()) continue;
      if (!MayPass(status)) {
        fatal = status;
        return;
      }
      // Said once, not at every try.
      if (next > before || status != last_loss) {
        if (next > 0) {
          LogWarning("lost the teacher at response ", next, " of ", total, ": ", status.message());
        } else {
          LogInfo("waiting for the teacher: ", status.message());
        }
      }
      last_loss = status;
      pause = next > before ? kFirstRetry : std::min(pause * 2, kLastRetry);
      const auto stopped = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stop; };
      mutex.AwaitWithTimeout(absl::Condition(&stopped), pause);
      if (stop) return;
    }
    absl::MutexLock lock(&mutex);
    fatal = absl::OutOfRangeError("all responses were read");
  }

  // One connection. Advances `next` by the responses that arrived whole.
  absl::Status ReadFrom(int& next) {
    KD_ASSIGN_OR_RETURN(const std::string target, address());
    const auto stub = v1::Teacher::NewStub(NewGrpcChannel(target));
    v1::StreamResponsesRequest part = common;
    const int end = std::min(next + kViewsPerCall, static_cast<int>(views.size()));
    for (int i = next; i < end; ++i) *part.add_views() = views[i];
    grpc::ClientContext context;
    {
      absl::MutexLock lock(&mutex);
      if (stop) return absl::CancelledError("stopped");
      open = &context;
    }
    const auto reader = stub->StreamResponses(&context, part);
    const absl::Status status = ReadAll(*reader, next);
    if (!status.ok()) context.TryCancel();
    const grpc::Status finished = reader->Finish();
    absl::MutexLock lock(&mutex);
    open = nullptr;
    if (!status.ok()) return status;
    KD_RETURN_IF_ERROR(FromGrpcStatus(finished));
    if (next < end) return absl::UnavailableError(absl::StrCat("the teacher left out ", end - next, " responses"));
    return absl::OkStatus();
  }

  absl::Status ReadAll(grpc::ClientReader<v1::ResponseChunk>& reader, int& next) {
    v1::ResponseChunk chunk;
    std::string bytes;
    uint64_t total = 0;
    bool from_cache = false, started = false;
    while (reader.Read(&chunk)) {
      if (!started) {
        total = chunk.total_bytes();
        from_cache = chunk.from_cache();
        started = true;
        if (total > kMaxResponseBytes) {
          return absl::UnavailableError(
              absl::StrCat("a response of ", total, " bytes was announced, at most ", kMaxResponseBytes, " are read"));
        }
      }
      bytes += chunk.data();
      if (bytes.size() > total) return absl::UnavailableError("the teacher sent more bytes than it announced");
      if (bytes.size() < total) continue;
      absl::StatusOr<std::vector<std::string>> records = SplitRecords(bytes);
      // The teacher's own DATA_LOSS means a damaged frame and stays; bytes damaged on the way are asked for again.
      if (!records.ok())
        return absl::UnavailableError(absl::StrCat("a response arrived damaged: ", records.status().message()));
      absl::MutexLock lock(&mutex);
      const auto has_room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stop || ready.size() < buffered; };
      mutex.Await(absl::Condition(&has_room));
      if (stop) return absl::CancelledError("stopped");
      ready.push_back({.records = *std::move(records), .from_cache = from_cache});
      ++next;
      bytes.clear();
      started = false;
    }
    return absl::OkStatus();
  }

  const std::vector<v1::ViewRef> views;
  // What every call says besides its views.
  const v1::StreamResponsesRequest common;
  const std::function<absl::StatusOr<std::string>()> address;
  const size_t buffered;
  absl::Mutex mutex;
  std::deque<StreamedResponse> ready ABSL_GUARDED_BY(mutex);
  // Set at the end, or by an error that trying again cannot mend.
  absl::Status fatal ABSL_GUARDED_BY(mutex);
  absl::Status last_loss ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;
  grpc::ClientContext* open ABSL_GUARDED_BY(mutex) = nullptr;
  std::thread thread;
};

ResponseStream::ResponseStream(v1::StreamResponsesRequest request, std::function<absl::StatusOr<std::string>()> address,
                               size_t buffered)
    : impl_(std::make_unique<Impl>(std::move(request), std::move(address), buffered)) {}

ResponseStream::~ResponseStream() {
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->stop = true;
    if (impl_->open != nullptr) impl_->open->TryCancel();
  }
  impl_->thread.join();
}

absl::StatusOr<StreamedResponse> ResponseStream::Next(absl::Time deadline) {
  absl::MutexLock lock(&impl_->mutex);
  const auto ready = [impl = impl_.get()]()
                         ABSL_NO_THREAD_SAFETY_ANALYSIS { return !impl->ready.empty() || !impl->fatal.ok(); };
  if (!impl_->mutex.AwaitWithDeadline(absl::Condition(&ready), deadline)) {
    return absl::UnavailableError(
        absl::StrCat("no response from the teacher in time",
                     impl_->last_loss.ok() ? "" : absl::StrCat("; last cause: ", impl_->last_loss.message())));
  }
  if (impl_->ready.empty()) return impl_->fatal;
  StreamedResponse response = std::move(impl_->ready.front());
  impl_->ready.pop_front();
  return response;
}

}  // namespace kd
