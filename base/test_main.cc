#include <csignal>

#include "gmock/gmock.h"

// What ctest shows as "skipped" (cmake/KdBuild.cmake): a program of which some test was skipped and none failed.
constexpr int kSkipped = 77;

int main(int argc, char** argv) {
  // A peer that is gone is an error to report, not the end of the program.
  std::signal(SIGPIPE, SIG_IGN);
  ::testing::InitGoogleMock(&argc, argv);
  const int failed = RUN_ALL_TESTS();
  if (failed != 0) return failed;
  return ::testing::UnitTest::GetInstance()->skipped_test_count() > 0 ? kSkipped : 0;
}
