// One suite for every form of a rendezvous: the table itself, and the same through gRPC.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/grpc_server.h"
#include "base/status_matchers.h"
#include "server/coordinator/rendezvous_client.h"
#include "server/coordinator/rendezvous_service.h"
#include "server/coordinator/rendezvous_table.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr absl::Duration kShort = absl::Milliseconds(50);

// A server that can be stopped and started again at its address.
class Server {
 public:
  explicit Server(Rendezvous& rendezvous, const RendezvousServiceOptions& options = {})
      : rendezvous_(rendezvous), options_(options) {
    Start();
  }
  ~Server() { Stop(); }

  void Start() {
    service_ = NewRendezvousService(rendezvous_, options_);
    auto running = StartGrpcServer(address_, {service_.get()});
    ASSERT_THAT(running, IsOk());
    running_ = *std::move(running);
    address_ = running_.address;
  }
  void Stop() {
    if (running_.server != nullptr) running_.server->Shutdown(absl::ToChronoTime(absl::Now()));
    running_.server.reset();
    service_.reset();
  }
  const std::string& address() const { return address_; }

 private:
  Rendezvous& rendezvous_;
  const RendezvousServiceOptions options_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<grpc::Service> service_;
  RunningGrpcServer running_;
};

class RendezvousTest : public ::testing::TestWithParam<bool> {
 protected:
  RendezvousTest() {
    table_.Begin("half-1/1/");
    if (!GetParam()) return;
    server_ = std::make_unique<Server>(table_);
    client_ = std::make_unique<RendezvousClient>(server_->address(), kPatience);
  }
  Rendezvous& store() { return client_ == nullptr ? static_cast<Rendezvous&>(table_) : *client_; }
  static absl::Time Soon() { return absl::Now() + kShort; }
  static absl::Time Late() { return absl::Now() + kPatience; }

  RendezvousTable table_{{.max_keys = 4, .max_bytes = 100}};
  std::unique_ptr<Server> server_;
  std::unique_ptr<RendezvousClient> client_;
};
INSTANTIATE_TEST_SUITE_P(Forms, RendezvousTest, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "ThroughGrpc" : "InMemory"; });

TEST_P(RendezvousTest, AValueIsReadBackByteForByteAndReplaced) {
  const std::string bytes("\0\xff\n", 3);
  ASSERT_THAT(store().Set("half-1/1/a", "first"), IsOk());
  ASSERT_THAT(store().Set("half-1/1/a", bytes), IsOk());
  ASSERT_THAT(store().Set("half-1/1/b", ""), IsOk());
  EXPECT_THAT(store().Get({"half-1/1/b", "half-1/1/a"}, Soon()), IsOkAndHolds(ElementsAre("", bytes)));
}

TEST_P(RendezvousTest, AWaitEndsWhenTheLastKeyIsSet) {
  ASSERT_THAT(store().Set("half-1/1/a", "1"), IsOk());
  std::thread other([this] { EXPECT_THAT(store().Set("half-1/1/b", "2"), IsOk()); });
  EXPECT_THAT(store().Get({"half-1/1/a", "half-1/1/b"}, Late()), IsOkAndHolds(ElementsAre("1", "2")));
  other.join();
}

TEST_P(RendezvousTest, AWaitThatEndsInVainNamesTheMissingKeys) {
  ASSERT_THAT(store().Set("half-1/1/a", "1"), IsOk());
  EXPECT_THAT(store().Get({"half-1/1/a", "half-1/1/rank2", "half-1/1/rank3"}, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("\"half-1/1/rank2\", \"half-1/1/rank3\""), Not(HasSubstr("half-1/1/a")))));
}

TEST_P(RendezvousTest, NumbersAreAddedUpFromZero) {
  EXPECT_THAT(store().Add("half-1/1/n", 3), IsOkAndHolds(3));
  EXPECT_THAT(store().Add("half-1/1/n", -5), IsOkAndHolds(-2));
  EXPECT_THAT(store().Get({"half-1/1/n"}, Soon()), IsOkAndHolds(ElementsAre("-2")));
  ASSERT_THAT(store().Set("half-1/1/n", "two"), IsOk());
  EXPECT_THAT(store().Add("half-1/1/n", 1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("half-1/1/n")));
  ASSERT_THAT(store().Set("half-1/1/n", absl::StrCat(INT64_MAX)), IsOk());
  EXPECT_THAT(store().Add("half-1/1/n", 1), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(RendezvousTest, CompareSetChangesOnlyWhatItExpects) {
  EXPECT_THAT(store().CompareSet("half-1/1/c", "old", "new"), IsOkAndHolds("old"));
  EXPECT_THAT(store().Check({"half-1/1/c"}), IsOkAndHolds(false));
  EXPECT_THAT(store().CompareSet("half-1/1/c", "", "new"), IsOkAndHolds("new"));
  EXPECT_THAT(store().CompareSet("half-1/1/c", "old", "newer"), IsOkAndHolds("new"));
  EXPECT_THAT(store().CompareSet("half-1/1/c", "new", "newer"), IsOkAndHolds("newer"));
}

TEST_P(RendezvousTest, ADeletedKeyIsGone) {
  ASSERT_THAT(store().Set("half-1/1/a", "1"), IsOk());
  EXPECT_THAT(store().Check({"half-1/1/a"}), IsOkAndHolds(true));
  EXPECT_THAT(store().Check({"half-1/1/a", "half-1/1/b"}), IsOkAndHolds(false));
  EXPECT_THAT(store().Delete("half-1/1/a"), IsOkAndHolds(true));
  EXPECT_THAT(store().Delete("half-1/1/a"), IsOkAndHolds(false));
  EXPECT_THAT(store().Check({"half-1/1/a"}), IsOkAndHolds(false));
}

TEST_P(RendezvousTest, OnlyGenerationsUnderWayMayMeet) {
  for (const std::string key : {"half-1/2/a", "other-1/1/a", "half-1/10/a"}) {
    EXPECT_THAT(store().Set(key, "1"), StatusIs(absl::StatusCode::kAborted)) << key;
    EXPECT_THAT(store().Get({key}, Late()), StatusIs(absl::StatusCode::kAborted)) << key;
    EXPECT_THAT(store().Add(key, 1), StatusIs(absl::StatusCode::kAborted)) << key;
    EXPECT_THAT(store().CompareSet(key, "", "1"), StatusIs(absl::StatusCode::kAborted)) << key;
    EXPECT_THAT(store().Check({key}), StatusIs(absl::StatusCode::kAborted)) << key;
    EXPECT_THAT(store().Delete(key), StatusIs(absl::StatusCode::kAborted)) << key;
  }
  EXPECT_THAT(store().Set("a", "1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("JOB/GENERATION/")));
}

TEST_P(RendezvousTest, TheEndOfAGenerationEndsItsWaitsAndForgetsItsKeys) {
  table_.Begin("half-1/2/");
  ASSERT_THAT(store().Set("half-1/1/a", "1"), IsOk());
  ASSERT_THAT(store().Set("half-1/2/a", "2"), IsOk());
  absl::Status end;
  std::thread waiter([&] { end = store().Get({"half-1/1/never"}, Late()).status(); });
  table_.End("half-1/1/");
  waiter.join();
  EXPECT_THAT(end, StatusIs(absl::StatusCode::kAborted, HasSubstr("half-1/1/")));
  EXPECT_THAT(store().Get({"half-1/1/a"}, Soon()), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(store().Get({"half-1/2/a"}, Soon()), IsOkAndHolds(ElementsAre("2")));
}

TEST_P(RendezvousTest, AGenerationHoldsABoundedNumberOfKeysAndBytes) {
  for (int i = 0; i < 4; ++i) ASSERT_THAT(store().Set(absl::StrCat("half-1/1/", i), "x"), IsOk());
  EXPECT_THAT(store().Set("half-1/1/4", "x"), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("at most 4")));
  EXPECT_THAT(store().Add("half-1/1/4", 1), StatusIs(absl::StatusCode::kResourceExhausted));
  // Four keys of 10 bytes and three values of 1 leave 57.
  EXPECT_THAT(store().Set("half-1/1/3", std::string(57, 'x')), IsOk());
  EXPECT_THAT(store().Set("half-1/1/3", std::string(58, 'x')),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("101 bytes")));
  EXPECT_THAT(store().Delete("half-1/1/3"), IsOkAndHolds(true));
  EXPECT_THAT(store().Set("half-1/1/4", "x"), IsOk());
}

TEST(RendezvousServiceTest, AClientWaitsForLongerThanTheServerWould) {
  RendezvousTable table;
  table.Begin("j/1/");
  Server server(table, {.longest_wait = absl::Milliseconds(1)});
  RendezvousClient client(server.address(), kPatience);
  absl::Notification asked;
  std::thread other([&] {
    asked.WaitForNotification();
    EXPECT_THAT(table.Set("j/1/a", "1"), IsOk());
  });
  // Many slices long.
  EXPECT_THAT(client.Get({"j/1/a"}, absl::Now() + absl::Milliseconds(100)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  asked.Notify();
  EXPECT_THAT(client.Get({"j/1/a"}, absl::Now() + kPatience), IsOkAndHolds(ElementsAre("1")));
  other.join();
}

TEST(RendezvousServiceTest, WaitersThatFindNoRoomAskAgainAndStillMeet) {
  RendezvousTable table;
  table.Begin("j/1/");
  Server server(table, {.max_waits = 1});
  RendezvousClient client(server.address(), kPatience);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 8; ++i) {
    waiters.emplace_back(
        [&] { EXPECT_THAT(client.Get({"j/1/a"}, absl::Now() + kPatience), IsOkAndHolds(ElementsAre("1"))); });
  }
  EXPECT_THAT(client.Set("j/1/a", "1"), IsOk());
  for (std::thread& waiter : waiters) waiter.join();
}

TEST(RendezvousClientTest, SurvivesACoordinatorThatIsBackSoon) {
  RendezvousTable table;
  table.Begin("j/1/");
  Server server(table);
  RendezvousClient client(server.address(), kPatience);
  EXPECT_THAT(client.Set("j/1/a", "1"), IsOk());
  server.Stop();
  std::thread caller([&] {
    EXPECT_THAT(client.Set("j/1/b", "2"), IsOk());
    EXPECT_THAT(client.Get({"j/1/a", "j/1/b"}, absl::Now() + kPatience), IsOkAndHolds(ElementsAre("1", "2")));
  });
  server.Start();
  caller.join();
}

TEST(RendezvousClientTest, ACoordinatorThatStaysAwayIsUnavailable) {
  RendezvousTable table;
  Server server(table);
  server.Stop();
  RendezvousClient client(server.address(), kShort);
  EXPECT_THAT(client.Set("j/1/a", "1"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(server.address())));
  EXPECT_THAT(client.Get({"j/1/a"}, absl::Now() + kShort),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("waited")));
  EXPECT_THAT(client.Add("j/1/a", 1), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace kd
