// For tests whose ranks are threads of one process. Tests only.
#ifndef KD_WORKER_THREADS_AS_RANKS_H_
#define KD_WORKER_THREADS_AS_RANKS_H_

#include <cstdlib>

namespace kd {

// c10d has one flight recorder per process and puts a group's first collective into its map without a lock
// (FlightRecorderDetail.hpp, all_pg_status_): two groups in two threads can break it. A recorder of no entries is off.
inline const int kFlightRecorderIsOff = ::setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/1);

}  // namespace kd

#endif  // KD_WORKER_THREADS_AS_RANKS_H_
