// Streams that outlive a coordinator. Only the fleet's client includes it.
#ifndef KD_CLIENT_LASTING_STREAM_H_
#define KD_CLIENT_LASTING_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_stream.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "client/fleet_call.h"
#include "client/output.h"

namespace kd {

// A stream is opened again after it, which also finds out whether the other side is still there.
inline constexpr absl::Duration kStreamDeadline = absl::Minutes(10);
// How long a fleet that has gone is waited for.
inline constexpr absl::Duration kPatience = absl::Minutes(1);
inline constexpr absl::Duration kReopenPause = absl::Milliseconds(500);

// One call of a streaming method.
template <typename T>
class OneStream {
 public:
  using Open = std::function<std::unique_ptr<grpc::ClientAsyncReader<T>>(grpc::ClientContext*, grpc::CompletionQueue*)>;

  OneStream(const Open& open, const FleetOptions& options) {
    Prepare(context_, options, kStreamDeadline);
    reader_ = open(&context_, &queue_);
    reader_->StartCall(this);
  }
  ~OneStream() {
    context_.TryCancel();
    queue_.Shutdown();
    void* tag;
    for (bool ok; queue_.Next(&tag, &ok);) {
    }
  }

  typename FleetStream<T>::Read Next(absl::Time until, T* message) {
    using Read = typename FleetStream<T>::Read;
    while (true) {
      void* tag;
      bool ok = false;
      const auto event = queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(until));
      if (event == grpc::CompletionQueue::TIMEOUT) return Read::kNothingYet;
      if (event == grpc::CompletionQueue::SHUTDOWN || stage_ == Stage::kFinishing) return Read::kEnd;
      if (!ok) {
        stage_ = Stage::kFinishing;
        reader_->Finish(&status_, this);
        continue;
      }
      const bool read = stage_ == Stage::kReading;
      stage_ = Stage::kReading;
      if (read) *message = std::move(incoming_);
      incoming_ = T();
      reader_->Read(&incoming_, this);
      if (read) return Read::kMessage;
    }
  }
  // After kEnd.
  absl::Status status() const { return FromGrpcStatus(status_); }

 private:
  enum class Stage { kStarting, kReading, kFinishing };

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<T>> reader_;
  Stage stage_ = Stage::kStarting;
  T incoming_;
  grpc::Status status_;
};

// Opens the call again when it broke off after it had worked.
template <typename T>
class LastingStream : public FleetStream<T> {
 public:
  using Read = typename FleetStream<T>::Read;
  // `opened` is called before every call; `is_new` says whether a message is to be passed on.
  LastingStream(typename OneStream<T>::Open open, std::string name, const FleetOptions& options,
                std::function<void()> opened, std::function<bool(const T&)> is_new)
      : open_(std::move(open)),
        name_(std::move(name)),
        options_(options),
        opened_(std::move(opened)),
        is_new_(std::move(is_new)) {}

  absl::StatusOr<Read> Next(absl::Time until, T* message) override {
    while (true) {
      if (call_ == nullptr) {
        const absl::Time at = std::min(until, open_at_);
        if (absl::Now() < at) absl::SleepFor(at - absl::Now());
        if (absl::Now() < open_at_) return Read::kNothingYet;
        start_ = absl::Now();
        opened_();
        call_ = std::make_unique<OneStream<T>>(open_, options_);
      }
      const Read read = call_->Next(until, message);
      if (read == Read::kNothingYet) return read;
      if (read == Read::kMessage) {
        heard_ = absl::Now();
        gone_since_ = absl::InfiniteFuture();
        if (!is_new_(*message)) continue;
        return read;
      }
      const absl::Status status = call_->status();
      PrintCall(name_, options_, status, start_);
      call_.reset();
      if (status.ok()) return Read::kEnd;
      if (absl::IsDeadlineExceeded(status) && heard_ > start_) continue;
      // A coordinator that stops cancels its streams.
      const bool gone = HasNoAnswer(status) || absl::IsCancelled(status);
      const bool patient = heard_ > absl::InfinitePast() && absl::Now() - gone_since_ < kPatience;
      if (!gone || !patient) return Named(status, "the fleet", options_.address, kStreamDeadline);
      if (gone_since_ == absl::InfiniteFuture()) {
        gone_since_ = absl::Now();
        Say(absl::StrCat("the fleet at ", options_.address, " has gone; waiting a minute for it to come back"));
      }
      open_at_ = absl::Now() + kReopenPause;
    }
  }

 private:
  const typename OneStream<T>::Open open_;
  const std::string name_;
  const FleetOptions options_;
  const std::function<void()> opened_;
  const std::function<bool(const T&)> is_new_;
  std::unique_ptr<OneStream<T>> call_;
  absl::Time start_, open_at_ = absl::InfinitePast(), heard_ = absl::InfinitePast(),
                     gone_since_ = absl::InfiniteFuture();
};

}  // namespace kd

#endif  // KD_CLIENT_LASTING_STREAM_H_
