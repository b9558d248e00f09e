#include "storage/sqlite/job_database.h"

#include <fstream>

#include "base/status_matchers.h"
#include "base/testing.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::JobRecord Record(const std::string& id, const std::string& request_id) {
  v1::JobRecord record;
  record.mutable_job()->set_id(id);
  record.mutable_job()->mutable_pair()->mutable_metadata()->set_name("half");
  record.set_request_id(request_id);
  return record;
}

v1::JobEvent Event(const std::string& message) {
  v1::JobEvent event;
  event.set_message(message);
  return event;
}

std::vector<std::string> Ids(const std::vector<v1::JobRecord>& records) {
  std::vector<std::string> ids;
  for (const v1::JobRecord& record : records) ids.push_back(record.job().id());
  return ids;
}

class JobDatabaseTest : public ::testing::Test {
 protected:
  void Open() {
    database_.reset();
    auto database = JobDatabase::Open(path_);
    ASSERT_THAT(database, IsOk());
    database_ = *std::move(database);
  }
  void SetUp() override { Open(); }

  TemporaryFolder folder_;
  const std::string path_ = folder_.path() + "/jobs.db";
  std::unique_ptr<JobDatabase> database_;
};

TEST_F(JobDatabaseTest, KeepsJobsAndEventsAcrossAReopening) {
  ASSERT_THAT(database_->Insert(Record("half-1", "r1"), Event("queued")), IsOk());
  v1::JobRecord second = Record("half-2", "r2");
  ASSERT_THAT(database_->Insert(second, Event("queued")), IsOk());
  second.set_restarts(3);
  ASSERT_THAT(database_->Update(second, Event("restarted")), IsOk());
  Open();

  EXPECT_THAT(Ids(*database_->Unfinished()), ElementsAre("half-1", "half-2"));
  EXPECT_THAT(Ids(*database_->Newest(1, "", "")), ElementsAre("half-2"));
  EXPECT_THAT(Ids(*database_->Newest(9, "other", "")), IsEmpty());
  EXPECT_THAT(Ids(*database_->Newest(9, "", "half-2")), ElementsAre("half-1"));
  EXPECT_THAT(Ids(*database_->Newest(9, "half", "half-1")), IsEmpty());
  EXPECT_THAT(database_->Newest(9, "", "half-9"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("half-9")));
  const auto found = database_->Find("half-2");
  ASSERT_THAT(found, IsOk());
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->restarts(), 3);
  const auto events = database_->Events("half-2");
  ASSERT_THAT(events, IsOk());
  ASSERT_EQ(events->size(), 2);
  EXPECT_EQ((*events)[1].message(), "restarted");
  EXPECT_EQ((*events)[1].sequence(), 2);
  EXPECT_THAT(database_->NextNumber(), IsOkAndHolds(3));
}

TEST_F(JobDatabaseTest, TellsTheLastThousandEvents) {
  const v1::JobRecord record = Record("half-1", "r1");
  ASSERT_THAT(database_->Insert(record, Event("queued")), IsOk());
  for (int i = 0; i < 1000; ++i) ASSERT_THAT(database_->Update(record, Event("restarted")), IsOk());
  const auto events = database_->Events("half-1");
  ASSERT_THAT(events, IsOk());
  ASSERT_EQ(events->size(), 1000);
  EXPECT_EQ(events->front().sequence(), 2);
  EXPECT_EQ(events->back().sequence(), 1001);
}

TEST_F(JobDatabaseTest, AnEndedJobIsNoLongerUnfinished) {
  v1::JobRecord record = Record("half-1", "r1");
  ASSERT_THAT(database_->Insert(record, Event("queued")), IsOk());
  record.mutable_job()->mutable_ended()->set_seconds(5);
  ASSERT_THAT(database_->Update(record, std::nullopt), IsOk());
  EXPECT_THAT(Ids(*database_->Unfinished()), IsEmpty());
  EXPECT_THAT(Ids(*database_->Newest(9, "half", "")), ElementsAre("half-1"));
}

TEST_F(JobDatabaseTest, ARequestIdIsUsedOnce) {
  ASSERT_THAT(database_->Insert(Record("half-1", "r1"), Event("queued")), IsOk());
  EXPECT_THAT(database_->Insert(Record("half-2", "r1"), Event("queued")), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(Ids(*database_->Newest(9, "", "")), ElementsAre("half-1"));
  EXPECT_THAT(*database_->Events("half-2"), IsEmpty());
  EXPECT_TRUE((*database_->FindRequest("r1")).has_value());
  EXPECT_FALSE((*database_->FindRequest("r2")).has_value());
}

TEST_F(JobDatabaseTest, UpdatingAJobThatIsNotThereChangesNothing) {
  EXPECT_THAT(database_->Update(Record("half-9", ""), Event("x")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("half-9")));
  EXPECT_THAT(*database_->Events("half-9"), IsEmpty());
}

TEST_F(JobDatabaseTest, RemembersProcesses) {
  ASSERT_THAT(database_->PutProcess({"half-1/1/0", 17, 99, "boot"}), IsOk());
  ASSERT_THAT(database_->PutProcess({"teacher/sha256:0", 18, 100, "boot"}), IsOk());
  ASSERT_THAT(database_->RemoveProcess("teacher/sha256:0", 18), IsOk());
  const auto processes = database_->Processes();
  ASSERT_THAT(processes, IsOk());
  ASSERT_EQ(processes->size(), 1);
  EXPECT_EQ(processes->front().name, "half-1/1/0");
  EXPECT_EQ(processes->front().start_ticks, 99);
}

TEST_F(JobDatabaseTest, ASecondOpenerIsRefused) {
  EXPECT_THAT(JobDatabase::Open(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another coordinator")));
}

TEST(JobDatabaseFileTest, AFileOfOtherContentIsRefused) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/jobs.db";
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_THAT(JobDatabase::Open(path), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path)));
}

}  // namespace
}  // namespace kd
