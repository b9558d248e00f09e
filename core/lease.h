// Who has been heard of lately.
#ifndef KD_CORE_LEASE_H_
#define KD_CORE_LEASE_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace kd {

// Leases that count the holder's silence, not the watcher's sleep. Time passes here only while somebody looks: between
// two calls of Observe at most `max_gap` counts, however long the watcher was stopped, waited for its disk, or had its
// clock set forward; a clock set back counts nothing. So every holder has its whole remaining time to be heard again.
//
// Not thread-safe.
class LeaseTable {
 public:
  // `max_gap` is a little more than the longest usual time between two calls of Observe.
  explicit LeaseTable(absl::Duration max_gap) : max_gap_(max_gap) {}

  // Lets time pass up to `now`.
  void Observe(absl::Time now);

  // Gives `holder` a lease of `length` from the time last observed, in place of the one that it had.
  void Grant(absl::string_view holder, absl::Duration length);

  // Forgets `holder`; nothing happens when it has no lease.
  void Release(absl::string_view holder);

  // True when the lease has run out. A holder without a lease has none that could.
  bool Expired(absl::string_view holder) const;

  // Time since the last Grant, for messages. Zero without a lease.
  absl::Duration Silence(absl::string_view holder) const;

 private:
  struct Lease {
    absl::Duration granted;
    absl::Duration length;
  };

  const absl::Duration max_gap_;
  absl::Time last_ = absl::InfinitePast();
  // Time that passed while somebody looked.
  absl::Duration awake_;
  std::map<std::string, Lease, std::less<>> leases_;
};

}  // namespace kd

#endif  // KD_CORE_LEASE_H_
