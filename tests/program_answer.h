// What a built program prints, for tests of whole programs.
#ifndef KD_TESTS_PROGRAM_ANSWER_H_
#define KD_TESTS_PROGRAM_ANSWER_H_

#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing.h"

namespace kd {

struct ProgramAnswer {
  // -1: it did not run to its end.
  int exit_code = -1;
  // Of stdout and stderr.
  std::string text;
};

// Of "kdctl data check ...", which a shell takes apart.
inline ProgramAnswer AnswerOf(const std::string& command) {
  ProgramAnswer answer;
  std::FILE* const pipe = ::popen(absl::StrCat(BinDir(), "/", command, " 2>&1").c_str(), "r");
  if (pipe == nullptr) return answer;
  char bytes[4096];
  while (const size_t got = std::fread(bytes, 1, sizeof(bytes), pipe)) answer.text.append(bytes, got);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) answer.exit_code = WEXITSTATUS(status);
  return answer;
}

}  // namespace kd

#endif  // KD_TESTS_PROGRAM_ANSWER_H_
