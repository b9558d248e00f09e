#include "client/output.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace kd {

const char kExitCodesHelp[] =
    "0    done\n"
    "1    failed\n"
    "2    bad input: flags, a job file, a file of yours\n"
    "3    the job ended badly\n"
    "4    not allowed\n"
    "5    the fleet or the registry cannot be reached\n"
    "130  interrupted\n";

void Say(absl::string_view text) { std::cerr << text << "\n"; }

void SayNext(absl::string_view command) { std::cerr << "next: " << command << "\n"; }

bool MayColour() {
  const char* off = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (off == nullptr || *off == '\0');
}

}  // namespace kd
