#include "core/lease.h"

#include "base/clock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

constexpr absl::Duration kLease = absl::Seconds(10);
constexpr absl::Duration kTick = absl::Milliseconds(200);

// Looks every tick for `duration`.
void Watch(LeaseTable& leases, FakeClock& clock, absl::Duration duration) {
  for (absl::Duration passed; passed < duration; passed += kTick) {
    clock.Advance(kTick);
    leases.Observe(clock.Now());
  }
}

class LeaseTableTest : public ::testing::Test {
 protected:
  LeaseTableTest() {
    leases_.Observe(clock_.Now());
    leases_.Grant("rank0", kLease);
  }
  FakeClock clock_;
  LeaseTable leases_{absl::Seconds(1)};
};

TEST_F(LeaseTableTest, ExpiresWhenTheHolderWasSilentForTheWholeLease) {
  Watch(leases_, clock_, kLease - kTick);
  EXPECT_FALSE(leases_.Expired("rank0"));
  EXPECT_EQ(leases_.Silence("rank0"), kLease - kTick);
  Watch(leases_, clock_, kTick);
  EXPECT_TRUE(leases_.Expired("rank0"));
}

TEST_F(LeaseTableTest, AGrantStartsTheLeaseAnew) {
  Watch(leases_, clock_, absl::Seconds(9));
  leases_.Grant("rank0", kLease);
  Watch(leases_, clock_, absl::Seconds(9));
  EXPECT_FALSE(leases_.Expired("rank0"));
}

TEST_F(LeaseTableTest, GivesTheTimeOfAPauseBack) {
  Watch(leases_, clock_, absl::Seconds(4));
  clock_.Advance(absl::Hours(3));
  leases_.Observe(clock_.Now());
  EXPECT_FALSE(leases_.Expired("rank0"));
  EXPECT_EQ(leases_.Silence("rank0"), absl::Seconds(5)) << "the pause counts as one longest gap";
  Watch(leases_, clock_, absl::Seconds(5));
  EXPECT_TRUE(leases_.Expired("rank0"));
}

TEST_F(LeaseTableTest, AGrantAfterAPauseIsNoLongerThanItsLength) {
  clock_.Advance(absl::Hours(3));
  leases_.Observe(clock_.Now());
  leases_.Grant("rank0", kLease);
  Watch(leases_, clock_, kLease);
  EXPECT_TRUE(leases_.Expired("rank0"));
}

TEST_F(LeaseTableTest, AClockSetBackNeitherExpiresNorFreezesLeases) {
  clock_.Advance(-absl::Hours(24));
  leases_.Observe(clock_.Now());
  EXPECT_FALSE(leases_.Expired("rank0"));
  Watch(leases_, clock_, kLease);
  EXPECT_TRUE(leases_.Expired("rank0"));
}

TEST_F(LeaseTableTest, AReleasedOrUnknownHolderNeverExpires) {
  leases_.Release("rank0");
  leases_.Release("stranger");
  Watch(leases_, clock_, 2 * kLease);
  EXPECT_FALSE(leases_.Expired("rank0"));
  EXPECT_FALSE(leases_.Expired("stranger"));
  EXPECT_EQ(leases_.Silence("stranger"), absl::ZeroDuration());
}

}  // namespace
}  // namespace kd
