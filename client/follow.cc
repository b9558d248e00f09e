#include "client/follow.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <iostream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/job_lines.h"
#include "client/output.h"
#include "client/session.h"
#include "core/job_state.h"

namespace kd {
namespace {

std::atomic<bool> interrupted_now = false;
struct sigaction action_before;

int TerminalColumns() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// Shows a job's changes on a terminal or as lines.
class JobPrinter {
 public:
  explicit JobPrinter(const FollowOptions& options) : options_(options) {}

  // The newest sighting; shown when a line is due.
  void See(const v1::Job& job, absl::Time now) {
    eta_.Observe(job, now);
    const bool moved = !job_.has_value() || HasMoved(*job_, job);
    job_ = job;
    due_ = due_ || moved;
  }

  void ShowIfDue(absl::Time now) {
    if (!due_ || now < next_) return;
    due_ = false;
    next_ = now + (options_.redraw ? absl::ZeroDuration() : options_.every);
    const auto eta = eta_.Estimate(*job_);
    if (!options_.redraw) {
      *options_.out << job_->id() << "  " << JobLine(*job_, eta) << std::endl;
      return;
    }
    // Back to the block's first line; what stood there is erased.
    if (drawn_) *options_.out << "\r\x1b[1A";
    *options_.out << "\x1b[J" << JobBlock(*job_, eta, TerminalColumns()) << std::flush;
    drawn_ = true;
  }

  // The last sighting is told elsewhere.
  void Drop() { due_ = false; }

  // Shows what is still to be shown and leaves the cursor on a line of its own.
  void End(absl::Time now) {
    if (job_.has_value()) {
      next_ = absl::InfinitePast();
      ShowIfDue(now);
    }
    if (drawn_) *options_.out << std::endl;
    drawn_ = false;
  }

 private:
  const FollowOptions& options_;
  EtaEstimator eta_;
  std::optional<v1::Job> job_;
  bool due_ = false, drawn_ = false;
  absl::Time next_ = absl::InfinitePast();
};

int ReportReached(const v1::Job& job) {
  if (job.state() != v1::JOB_STATE_SUCCEEDED) {
    SayNext(absl::StrCat("kdctl watch ", job.id()));
  } else if (job.outcome().artifact().empty()) {
    SayNext(absl::StrCat("kdctl describe ", job.id()));
  } else {
    SayNext(absl::StrCat("kdctl pull ", job.outcome().artifact()));
  }
  return kExitOk;
}

int ReportEndedBadly(const v1::Job& job) {
  const absl::string_view remedy = job.state() == v1::JOB_STATE_CANCELLED ? "kdctl describe " : "kdctl logs ";
  ReportError(
      absl::AbortedError(absl::StrCat("job ", job.id(), " ended as ", JobStateName(job.state()), ": ", job.reason())),
      absl::StrCat(remedy, job.id()));
  return kExitJobEndedBadly;
}

int ReportInterrupted(const std::string& id) {
  Say(absl::StrCat("detached; job ", id, " goes on. To cancel it: kdctl cancel ", id));
  SayNext(absl::StrCat("kdctl watch ", id));
  return kExitInterrupted;
}

int ReportTimeout(const std::string& id, const std::optional<v1::Job>& job, absl::Duration timeout) {
  const std::string state = job.has_value() ? JobStateName(job->state()) : "unknown";
  ReportError(
      absl::AbortedError(absl::StrCat("job ", id, " is still ", state, " after ", absl::FormatDuration(timeout))),
      absl::StrCat("kdctl describe ", id, ", or wait longer with --timeout"));
  return kExitFailed;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupted_now = false;
  struct sigaction action{};
  action.sa_handler = [](int) { interrupted_now = true; };
  sigaction(SIGINT, &action, &action_before);
}
InterruptGuard::~InterruptGuard() { sigaction(SIGINT, &action_before, nullptr); }
bool InterruptGuard::interrupted() const { return interrupted_now; }

bool HasReached(v1::JobState state, v1::JobState wanted) {
  if (state == wanted) return true;
  // The states of a job that goes well stand in the order of its life.
  return state <= v1::JOB_STATE_SUCCEEDED && wanted <= v1::JOB_STATE_SUCCEEDED && state > wanted;
}

int FollowJob(FleetClient& fleet, const std::string& id, const FollowOptions& options) {
  const InterruptGuard interrupt;
  const absl::Time deadline = absl::Now() + options.timeout;
  const auto stream = fleet.Watch(id);
  JobPrinter printer(options);
  std::optional<v1::Job> job;
  while (true) {
    if (interrupt.interrupted()) {
      printer.End(absl::Now());
      return ReportInterrupted(id);
    }
    if (absl::Now() >= deadline) {
      printer.End(absl::Now());
      return ReportTimeout(id, job, options.timeout);
    }
    v1::Job seen;
    const auto read = stream->Next(std::min(deadline, absl::Now() + kInterruptPoll), &seen);
    const absl::Time now = absl::Now();
    if (!read.ok()) {
      printer.End(now);
      return ReportFleetError(read.status(), "kdctl get jobs");
    }
    using Read = FleetStream<v1::Job>::Read;
    if (*read == Read::kMessage) {
      printer.See(seen, now);
      job = std::move(seen);
    }
    const bool reached = job.has_value() && HasReached(job->state(), options.until);
    const bool over = *read == Read::kEnd || (job.has_value() && IsFinal(job->state()));
    if (!reached && !over) {
      printer.ShowIfDue(now);
      continue;
    }
    // The error that follows on the same stream says it all.
    if (!reached && options.out == &std::cerr) printer.Drop();
    printer.End(now);
    if (!job.has_value())
      return ReportFleetError(absl::InternalError("the fleet ended the watch without a word"), "kdctl doctor");
    return reached ? ReportReached(*job) : ReportEndedBadly(*job);
  }
}

}  // namespace kd
