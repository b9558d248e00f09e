#include "server/coordinator/rendezvous_table.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace kd {
namespace {

constexpr size_t kNamedKeys = 8;

// "JOB/GENERATION/"; empty when `key` does not begin with one.
std::string PrefixOf(const std::string& key) {
  const size_t job = key.find('/');
  const size_t generation = job == std::string::npos ? job : key.find('/', job + 1);
  return generation == std::string::npos ? "" : key.substr(0, generation + 1);
}

std::string NameKeys(const std::vector<std::string>& keys) {
  const size_t named = std::min(keys.size(), kNamedKeys);
  const std::string names = absl::StrJoin(
      keys.begin(), keys.begin() + static_cast<long>(named), ", ",
      [](std::string* out, const std::string& key) { absl::StrAppend(out, "\"", absl::CHexEscape(key), "\""); });
  return named == keys.size() ? names : absl::StrCat(names, " and ", keys.size() - named, " more");
}

}  // namespace

void RendezvousTable::Begin(const std::string& prefix) {
  absl::MutexLock lock(&mutex_);
  generations_.try_emplace(prefix);
}

void RendezvousTable::End(const std::string& prefix) {
  absl::MutexLock lock(&mutex_);
  generations_.erase(prefix);
}

absl::StatusOr<RendezvousTable::Generation*> RendezvousTable::Find(const std::string& key) {
  const std::string prefix = PrefixOf(key);
  const auto found = generations_.find(prefix);
  if (found != generations_.end()) return &found->second;
  if (prefix.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("key ", NameKeys({key}), " does not begin with JOB/GENERATION/"));
  }
  return absl::AbortedError(absl::StrCat("no generation ", NameKeys({prefix}), " is under way"));
}

absl::Status RendezvousTable::Put(Generation& generation, const std::string& key, std::string value) {
  const auto found = generation.values.find(key);
  const bool known = found != generation.values.end();
  const size_t keys = generation.values.size() + (known ? 0 : 1);
  const size_t bytes = generation.bytes + value.size() + (known ? 0 : key.size()) - (known ? found->second.size() : 0);
  if (keys > limits_.max_keys || bytes > limits_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("generation ", NameKeys({PrefixOf(key)}), " would hold ", keys,
                                                     " keys and ", bytes, " bytes; at most ", limits_.max_keys, " and ",
                                                     limits_.max_bytes));
  }
  generation.bytes = bytes;
  generation.values[key] = std::move(value);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> RendezvousTable::Missing(const std::vector<std::string>& keys) {
  std::vector<std::string> missing;
  for (const std::string& key : keys) {
    KD_ASSIGN_OR_RETURN(const Generation* const generation, Find(key));
    if (!generation->values.contains(key)) missing.push_back(key);
  }
  return missing;
}

absl::Status RendezvousTable::Set(const std::string& key, const std::string& value) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Generation* const generation, Find(key));
  return Put(*generation, key, value);
}

absl::StatusOr<std::vector<std::string>> RendezvousTable::Get(const std::vector<std::string>& keys,
                                                              absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<std::vector<std::string>> missing;
  const auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    missing = Missing(keys);
    return !missing.ok() || missing->empty();
  };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&settled), deadline)) {
    return absl::DeadlineExceededError(absl::StrCat("nobody has set ", NameKeys(*missing)));
  }
  KD_RETURN_IF_ERROR(missing.status());
  std::vector<std::string> values;
  for (const std::string& key : keys) {
    KD_ASSIGN_OR_RETURN(const Generation* const generation, Find(key));
    values.push_back(generation->values.at(key));
  }
  return values;
}

absl::StatusOr<int64_t> RendezvousTable::Add(const std::string& key, int64_t amount) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Generation* const generation, Find(key));
  int64_t value = 0;
  const auto found = generation->values.find(key);
  if (found != generation->values.end() && !absl::SimpleAtoi(found->second, &value)) {
    return absl::InvalidArgumentError(absl::StrCat("key ", NameKeys({key}), " does not hold a number"));
  }
  int64_t sum;
  if (__builtin_add_overflow(value, amount, &sum)) {
    return absl::InvalidArgumentError(
        absl::StrCat("key ", NameKeys({key}), " holds ", value, "; ", amount, " more do not fit"));
  }
  KD_RETURN_IF_ERROR(Put(*generation, key, absl::StrCat(sum)));
  return sum;
}

absl::StatusOr<std::string> RendezvousTable::CompareSet(const std::string& key, const std::string& expected,
                                                        const std::string& desired) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Generation* const generation, Find(key));
  const auto found = generation->values.find(key);
  if (found == generation->values.end() && !expected.empty()) return expected;
  if (found != generation->values.end() && found->second != expected) return found->second;
  KD_RETURN_IF_ERROR(Put(*generation, key, desired));
  return desired;
}

absl::StatusOr<bool> RendezvousTable::Check(const std::vector<std::string>& keys) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> missing, Missing(keys));
  return missing.empty();
}

absl::StatusOr<bool> RendezvousTable::Delete(const std::string& key) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Generation* const generation, Find(key));
  const auto found = generation->values.find(key);
  if (found == generation->values.end()) return false;
  generation->bytes -= key.size() + found->second.size();
  generation->values.erase(found);
  return true;
}

}  // namespace kd
