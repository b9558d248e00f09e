#include "data/dataset.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kd {

absl::StatusOr<std::vector<std::string>> TrainSamples(const Dataset& dataset, const v1::Data& data) {
  KD_ASSIGN_OR_RETURN(std::vector<std::string> samples, dataset.Split(data.train_split()));
  // Messages that no job file was read into have 0.
  const size_t interval = std::max(data.train_interval(), 1u);
  if (interval == 1) return samples;
  if (!samples.empty() && samples.size() < interval) {
    return absl::InvalidArgumentError(absl::StrCat("data.train_interval is ", interval, ", and split \"",
                                                   data.train_split(), "\" of ", data.root(), " has ", samples.size(),
                                                   " frames; use at most as many"));
  }
  std::vector<std::string> chosen;
  for (size_t i = 0; i < samples.size(); i += interval) chosen.push_back(std::move(samples[i]));
  return chosen;
}

}  // namespace kd
