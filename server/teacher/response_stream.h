// A worker's end of Teacher.StreamResponses: responses in order, across reconnects.
#ifndef KD_SERVER_TEACHER_RESPONSE_STREAM_H_
#define KD_SERVER_TEACHER_RESPONSE_STREAM_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kd/v1/teacher.pb.h"

namespace kd {

struct StreamedResponse {
  std::vector<std::string> records;
  bool from_cache = false;
};

// Next() is called by one thread.
class ResponseStream {
 public:
  // `address` is asked anew after every loss of the teacher. At most `buffered` responses wait here.
  ResponseStream(v1::StreamResponsesRequest request, std::function<absl::StatusOr<std::string>()> address,
                 size_t buffered = 16);
  ~ResponseStream();

  // The next response, each exactly once. A lost teacher is looked for again, from the first response not yet read,
  // until `deadline`; then UNAVAILABLE, naming the last cause. Errors that trying again cannot mend come at once.
  absl::StatusOr<StreamedResponse> Next(absl::Time deadline);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace kd

#endif  // KD_SERVER_TEACHER_RESPONSE_STREAM_H_
