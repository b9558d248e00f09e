// Engine, service and client stream together, with a model that only counts.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/grpc_server.h"
#include "base/small_disk.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/record.h"
#include "data/fake_dataset.h"
#include "data/simulator.h"
#include "data/view.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "kd/v1/teacher.grpc.pb.h"
#include "prometheus/text_serializer.h"
#include "server/teacher/cache_metrics.h"
#include "server/teacher/response_engine.h"
#include "server/teacher/response_stream.h"
#include "server/teacher/teacher_service.h"
#include "storage/memory/memory_response_store.h"
#include "storage/rocksdb/rocksdb_response_store.h"
#include "storage/tiered_response_store.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

const std::string kNoOwnMounts = EnterOwnMounts();

constexpr char kDigest[] = "sha256:teacher";
constexpr uint32_t kFrames = 6;

v1::ResponsePlan::Item* AddItem(v1::ResponsePlan& plan, const std::string& tensor, uint32_t top_k = 0) {
  v1::ResponsePlan::Item* item = plan.add_items();
  item->set_tensor(tensor);
  item->set_selection(top_k > 0 ? v1::SELECTION_PIVOTAL : v1::SELECTION_OBJECTS);
  item->set_top_k(top_k);
  item->set_dtype(v1::DATA_TYPE_FLOAT32);
  return item;
}

v1::ResponsePlan BasePlan() {
  v1::ResponsePlan plan;
  AddItem(plan, "hm.0", 500);
  AddItem(plan, "boxes");
  return plan;
}

// Writes the view's checksum into records of a few hundred KiB, so that responses span chunks.
class CountingModel {
 public:
  absl::StatusOr<std::vector<std::vector<std::string>>> Answer(const std::vector<const Frame*>& views,
                                                               const v1::ResponsePlan& plan) {
    std::vector<std::vector<std::string>> answers;
    for (const Frame* view : views) {
      const uint32_t checksum = ViewChecksum(*view);
      if (view->sample == "000005") return absl::InternalError("this frame breaks the model");
      ++counts_[checksum];
      auto& records = answers.emplace_back();
      for (const v1::ResponsePlan::Item& item : plan.items()) {
        v1::RecordHeader header;
        header.set_tensor(item.tensor());
        header.set_dtype(item.dtype());
        header.set_selection(item.selection());
        header.set_top_k(item.top_k());
        header.set_view_crc32c(checksum);
        constexpr uint32_t kCells = 100'000;
        header.add_shape(item.selection() == v1::SELECTION_PIVOTAL ? 2 : kCells);
        if (item.selection() == v1::SELECTION_PIVOTAL) header.add_shape(kCells);
        std::vector<uint32_t> indices;
        for (uint32_t i = 0; item.selection() == v1::SELECTION_PIVOTAL && i < kCells; ++i) indices.push_back(i);
        records.push_back(*EncodeRecord(
            header, indices, std::vector<float>(item.selection() == v1::SELECTION_PIVOTAL ? 2 * kCells : kCells, 1)));
      }
    }
    return answers;
  }
  const std::map<uint32_t, int>& counts() const { return counts_; }

 private:
  std::map<uint32_t, int> counts_;
};

class TeacherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(
        WriteSimulatedKitti({.root = folder_ / "sim", .train_frames = kFrames, .val_frames = 0, .seed = 4}, nullptr),
        IsOk());
    memory_ = NewMemoryResponseStore(64 << 20);
    disk_ = *OpenRocksDbResponseStore(folder_ / "cache", uint64_t{1} << 30);
    Start();
  }
  void TearDown() override { Stop(); }

  void Start() {
    store_ = NewTieredResponseStore(*memory_, *disk_);
    registry_ = std::make_unique<prometheus::Registry>();
    engine_ = std::make_unique<ResponseEngine>(
        ResponseEngineOptions{.max_batch = 3, .base_plan = BasePlan()},
        [this](const std::vector<const Frame*>& views, const v1::ResponsePlan& plan) {
          return model_.Answer(views, plan);
        },
        *store_, *registry_);
    server_ = *TeacherServer::Start({.digest = kDigest, .window = 4}, *engine_, *memory_, *disk_);
  }
  void Stop() {
    server_.reset();
    engine_.reset();
  }

  v1::StreamResponsesRequest Request(uint32_t frames, uint32_t views) const {
    v1::StreamResponsesRequest request;
    request.set_teacher_digest(kDigest);
    v1::Data* data = request.mutable_data();
    data->set_format("kitti");
    data->set_root(folder_ / "sim");
    data->set_train_split("train");
    data->set_views(views);
    data->mutable_augmentation()->set_rotation(0.3f);
    data->mutable_augmentation()->set_scale_min(1);
    data->mutable_augmentation()->set_scale_max(1);
    for (const char* name : kSimulatedClasses) data->add_class_names(name);
    *request.mutable_plan() = BasePlan();
    for (uint32_t view = 1; view <= views; ++view) {
      for (uint32_t frame = 0; frame < frames; ++frame) {
        v1::ViewRef* ref = request.add_views();
        ref->set_sample(absl::StrCat("00000", frame));
        ref->set_view(view);
      }
    }
    return request;
  }

  std::function<absl::StatusOr<std::string>()> Address() {
    return [this]() -> absl::StatusOr<std::string> { return server_->address(); };
  }

  // Reads everything and checks every checksum against the view that was asked for.
  int ReadAll(const v1::StreamResponsesRequest& request) {
    const auto dataset = *OpenDataset(request.data());
    const ViewMaker views = *ViewMaker::Open(request.data(), *dataset);
    ResponseStream stream(request, Address());
    int cached = 0;
    for (const v1::ViewRef& view : request.views()) {
      const auto response = stream.Next(absl::Now() + absl::Seconds(30));
      EXPECT_THAT(response, IsOk());
      if (!response.ok()) return -1;
      const uint32_t own = ViewChecksum(*views.Make(*dataset->Read(view.sample()), view.view()));
      EXPECT_EQ(response->records.size(), static_cast<size_t>(request.plan().items_size()));
      for (const std::string& record : response->records) EXPECT_EQ(ParseRecord(record)->header.view_crc32c(), own);
      cached += response->from_cache;
    }
    EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)), StatusIs(absl::StatusCode::kOutOfRange));
    return cached;
  }

  v1::CacheStats CacheStats() const {
    const auto stub = v1::Teacher::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::CacheStats stats;
    EXPECT_TRUE(stub->GetCacheStats(&context, {}, &stats).ok());
    return stats;
  }

  // All records of a request, one after the other.
  std::string Bytes(const v1::StreamResponsesRequest& request) {
    ResponseStream stream(request, Address());
    std::string bytes;
    for (int i = 0; i < request.views_size(); ++i) {
      const auto response = stream.Next(absl::Now() + absl::Seconds(30));
      EXPECT_THAT(response, IsOk());
      if (!response.ok()) break;
      for (const std::string& record : response->records) bytes += record;
    }
    return bytes;
  }

  std::string Metrics() const {
    const auto none = std::make_shared<prometheus::Registry>();
    return prometheus::TextSerializer().Serialize(NewCacheMetrics(none, *memory_, *disk_)->Collect());
  }

  // What a stream says that ends at once.
  grpc::Status ReadOnce(const v1::StreamResponsesRequest& request) const {
    const auto stub = v1::Teacher::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    const auto reader = stub->StreamResponses(&context, request);
    v1::ResponseChunk chunk;
    while (reader->Read(&chunk)) {
    }
    return reader->Finish();
  }

  TemporaryFolder folder_;
  CountingModel model_;
  std::unique_ptr<ResponseStore> memory_, disk_, store_;
  std::unique_ptr<prometheus::Registry> registry_;
  std::unique_ptr<ResponseEngine> engine_;
  std::unique_ptr<TeacherServer> server_;
};

TEST_F(TeacherTest, ThreeStudentsCostOnePassOfTheTeacher) {
  const v1::StreamResponsesRequest request = Request(5, 3);
  std::thread second([&] { ReadAll(request); });
  ReadAll(request);
  second.join();
  EXPECT_EQ(engine_->forwards_total(), 15u);
  for (const auto& [checksum, count] : model_.counts()) EXPECT_EQ(count, 1);
  EXPECT_EQ(model_.counts().size(), 15u);
  EXPECT_EQ(ReadAll(request), 15);
  EXPECT_EQ(engine_->forwards_total(), 15u);
}

TEST_F(TeacherTest, ANarrowerPlanIsServedFromTheSharedRecords) {
  v1::StreamResponsesRequest request = Request(2, 1);
  ReadAll(request);
  request.mutable_plan()->clear_items();
  AddItem(*request.mutable_plan(), "hm.0", 100);
  EXPECT_EQ(ReadAll(request), 2);
  EXPECT_EQ(engine_->forwards_total(), 2u);
}

TEST_F(TeacherTest, StudentsWithDifferentPlansShareOnePassToo) {
  v1::StreamResponsesRequest heatmap = Request(5, 6), boxes = heatmap;
  heatmap.mutable_plan()->mutable_items()->DeleteSubrange(1, 1);
  boxes.mutable_plan()->mutable_items()->DeleteSubrange(0, 1);
  std::vector<std::thread> students;
  for (int i = 0; i < 4; ++i) students.emplace_back([&, i] { EXPECT_GE(ReadAll(i % 2 == 0 ? heatmap : boxes), 0); });
  for (std::thread& student : students) student.join();
  EXPECT_EQ(engine_->forwards_total(), 30u);
}

TEST_F(TeacherTest, AFrameThatBreaksTheModelFailsNoOtherInItsBatch) {
  v1::StreamResponsesRequest broken = Request(1, 3);
  for (v1::ViewRef& view : *broken.mutable_views()) view.set_sample("000005");
  const v1::StreamResponsesRequest sound = Request(5, 3);
  std::thread other([&] {
    for (int i = 0; i < 5; ++i) {
      const grpc::Status status = ReadOnce(broken);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
      EXPECT_THAT(status.error_message(), HasSubstr("breaks the model"));
    }
  });
  EXPECT_TRUE(ReadOnce(sound).ok());
  other.join();
  EXPECT_EQ(engine_->forwards_total(), 15u);
}

TEST_F(TeacherTest, CacheStatsTellEachTierApart) {
  const v1::StreamResponsesRequest request = Request(2, 2);
  ReadAll(request);
  v1::CacheStats stats = CacheStats();
  ASSERT_EQ(stats.tiers_size(), 2);
  for (const v1::CacheStats::Tier& tier : stats.tiers()) {
    EXPECT_EQ(tier.records(), 8u) << "four views of two records; " << tier.name();
    EXPECT_EQ(tier.hits_total(), 0u);
    EXPECT_EQ(tier.misses_total(), 4u) << "a view's first record tells that it was not computed yet; " << tier.name();
  }
  EXPECT_EQ(stats.tiers(0).name(), "memory");
  EXPECT_EQ(stats.tiers(0).capacity_bytes(), uint64_t{64} << 20);
  EXPECT_EQ(stats.tiers(1).name(), "disk");
  EXPECT_EQ(stats.tiers(1).capacity_bytes(), uint64_t{1} << 30);
  EXPECT_EQ(stats.tiers(0).bytes(), stats.tiers(1).bytes());
  // A view's two records hold 300'000 float32 values and 100'000 indices.
  EXPECT_GT(stats.tiers(0).bytes(), 4u * 1'200'000);
  EXPECT_EQ(stats.forwards_total(), 4u);

  ReadAll(request);
  stats = CacheStats();
  EXPECT_EQ(stats.tiers(0).hits_total(), 8u);
  EXPECT_EQ(stats.tiers(1).hits_total(), 0u) << "memory had them all";

  Stop();
  memory_ = NewMemoryResponseStore(64 << 20);
  Start();
  ReadAll(request);
  stats = CacheStats();
  EXPECT_EQ(stats.tiers(0).misses_total(), 8u);
  EXPECT_EQ(stats.tiers(1).hits_total(), 8u);
  EXPECT_EQ(stats.tiers(0).records(), 8u) << "what the disk had is in memory again";
  EXPECT_EQ(stats.forwards_total(), 0u);
}

TEST_F(TeacherTest, AWorkerThatGoesAwayLeavesTheServerToTheOthers) {
  const v1::StreamResponsesRequest request = Request(5, 4);
  const auto stub = v1::Teacher::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    const auto reader = stub->StreamResponses(&context, request);
    v1::ResponseChunk chunk;
    ASSERT_TRUE(reader->Read(&chunk));
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_GE(ReadAll(request), 0);
  EXPECT_EQ(engine_->forwards_total(), 20u);
}

TEST_F(TeacherTest, OneThreadIsEnoughForSeveralStudents) {
  server_.reset();
  server_ = *TeacherServer::Start({.digest = kDigest, .window = 4, .threads = 1}, *engine_, *memory_, *disk_);
  const v1::StreamResponsesRequest request = Request(3, 2);
  std::thread second([&] { EXPECT_GE(ReadAll(request), 0); });
  EXPECT_GE(ReadAll(request), 0);
  second.join();
  EXPECT_EQ(engine_->forwards_total(), 6u);
}

TEST_F(TeacherTest, TheDiskKeepsResponsesAcrossARestart) {
  const v1::StreamResponsesRequest request = Request(4, 2);
  ReadAll(request);
  Stop();
  disk_.reset();
  memory_ = NewMemoryResponseStore(64 << 20);
  disk_ = *OpenRocksDbResponseStore(folder_ / "cache", uint64_t{1} << 30);
  Start();
  EXPECT_EQ(ReadAll(request), 8);
  EXPECT_EQ(engine_->forwards_total(), 0u);
}

TEST_F(TeacherTest, ADamagedRecordIsDroppedCountedAndComputedAgainWithTheSameBytes) {
  const v1::StreamResponsesRequest request = Request(4, 2);
  const std::string expected = Bytes(request);
  EXPECT_THAT(Metrics(), HasSubstr("kd_cache_corrupt_records_total{tier=\"disk\"} 0"));
  Stop();
  disk_.reset();
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "cache")) {
    if (entry.path().extension() != ".blob") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file << "rot";
  }
  memory_ = NewMemoryResponseStore(64 << 20);
  disk_ = *OpenRocksDbResponseStore(folder_ / "cache", uint64_t{1} << 30);
  Start();
  EXPECT_EQ(Bytes(request), expected);
  EXPECT_EQ(engine_->forwards_total(), 1u) << "of one view";
  EXPECT_EQ(CacheStats().tiers(1).corrupt_total(), 1u);
  EXPECT_THAT(Metrics(), HasSubstr("kd_cache_corrupt_records_total{tier=\"disk\"} 1"));
  EXPECT_EQ(Bytes(request), expected);
  EXPECT_EQ(engine_->forwards_total(), 1u) << "the record was stored anew";
}

TEST_F(TeacherTest, AFullDiskUnderTheCacheIsAnAlertAndTheServiceGoesOn) {
  const SmallDisk small(16 << 20);
  KD_REQUIRE_SMALL_DISK(small, kNoOwnMounts);
  const v1::StreamResponsesRequest request = Request(5, 4);
  const std::string expected = Bytes(request);
  const auto restart = [&] {
    Stop();
    // Too small for anything, so that only the disk counts.
    memory_ = NewMemoryResponseStore(1);
    disk_.reset();
    disk_ = *OpenRocksDbResponseStore(small / "cache", uint64_t{1} << 30);
    Start();
  };
  restart();
  EXPECT_THAT(Metrics(), HasSubstr("kd_cache_read_only{tier=\"disk\"} 0"));
  EXPECT_EQ(Bytes(request), expected);
  EXPECT_EQ(engine_->forwards_total(), 20u);
  EXPECT_TRUE(CacheStats().tiers(1).read_only());
  EXPECT_THAT(Metrics(), HasSubstr("kd_cache_read_only{tier=\"disk\"} 1"));

  EXPECT_EQ(Bytes(request), expected);
  EXPECT_GT(engine_->forwards_total(), 20u);
  EXPECT_LT(engine_->forwards_total(), 40u) << "what was kept is served";

  small.Fill();
  restart();
  EXPECT_THAT(Metrics(), HasSubstr("kd_cache_read_only{tier=\"disk\"} 1"));
  EXPECT_EQ(Bytes(request), expected);
  EXPECT_LT(engine_->forwards_total(), 20u) << "also after a restart on a full disk";
}

TEST_F(TeacherTest, AStreamGoesOnWhereALostTeacherStopped) {
  const v1::StreamResponsesRequest request = Request(5, 4);
  ResponseStream stream(request, Address(), /*buffered=*/2);
  for (int i = 0; i < 5; ++i) ASSERT_THAT(stream.Next(absl::Now() + absl::Seconds(30)), IsOk());
  Stop();
  Start();
  for (int i = 5; i < 20; ++i) ASSERT_THAT(stream.Next(absl::Now() + absl::Seconds(30)), IsOk()) << i;
  EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(TeacherTest, StreamsAnOrderThatNoSingleMessageHolds) {
  v1::StreamResponsesRequest request = Request(1, 1);
  const v1::ViewRef view = request.views(0);
  while (request.ByteSizeLong() < (5 << 20)) {
    for (int i = 0; i < 1000; ++i) *request.add_views() = view;
  }
  ResponseStream stream(request, Address());
  for (int i = 0; i < 20000; ++i) ASSERT_THAT(stream.Next(absl::Now() + absl::Seconds(30)), IsOk()) << i;
}

// Sends what it is told to instead of records, then what a teacher would.
class DamagingTeacher final : public v1::Teacher::Service {
 public:
  explicit DamagingTeacher(std::string sound) : sound_(std::move(sound)) {}
  grpc::Status StreamResponses(grpc::ServerContext*, const v1::StreamResponsesRequest*,
                               grpc::ServerWriter<v1::ResponseChunk>* writer) override {
    v1::ResponseChunk chunk;
    chunk.set_data(next < damaged.size() ? damaged[next++] : sound_);
    chunk.set_total_bytes(announced == 0 ? chunk.data().size() : announced);
    announced = 0;
    writer->Write(chunk);
    return grpc::Status::OK;
  }

  std::vector<std::string> damaged;
  size_t next = 0;
  // Of the first answer; 0: its size.
  uint64_t announced = 0;

 private:
  const std::string sound_;
};

TEST_F(TeacherTest, AResponseThatArrivesDamagedIsAskedForAgain) {
  const v1::StreamResponsesRequest request = Request(1, 1);
  const std::string sound = Bytes(request);
  for (const uint64_t announced : {uint64_t{0}, uint64_t{1}, std::numeric_limits<uint64_t>::max()}) {
    DamagingTeacher teacher(sound);
    std::string flipped = sound;
    flipped[flipped.size() / 2] ^= 1;
    teacher.damaged = {flipped};
    teacher.announced = announced;
    const RunningGrpcServer running = *StartGrpcServer("127.0.0.1:0", {&teacher});
    {
      ResponseStream stream(request, [&]() -> absl::StatusOr<std::string> { return running.address; });
      const auto response = stream.Next(absl::Now() + absl::Seconds(30));
      ASSERT_THAT(response, IsOk()) << announced;
      std::string bytes;
      for (const std::string& record : response->records) bytes += record;
      EXPECT_EQ(bytes, sound);
    }
    running.server->Shutdown();
  }
}

TEST_F(TeacherTest, AnotherTeacherOrDataSetIsRefusedWithBothNames) {
  v1::StreamResponsesRequest request = Request(1, 1);
  request.set_teacher_digest("sha256:other");
  {
    ResponseStream stream(request, Address());
    EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         ::testing::AllOf(HasSubstr("sha256:other"), HasSubstr(kDigest))));
  }
  request.set_teacher_digest(kDigest);
  request.set_dataset_digest("sha256:else");
  ResponseStream stream(request, Address());
  EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sha256:else")));
}

TEST_F(TeacherTest, PastesWhatTheWorkerPastesAndRefusesAWorkerWithAnotherDatabase) {
  const std::string objects = folder_ / "objects";
  v1::StreamResponsesRequest request = Request(2, 2);
  request.mutable_data()->set_seed(7);
  request.mutable_data()->mutable_augmentation()->set_objects(objects);
  for (int i = 0; i < 3; ++i) request.mutable_data()->mutable_augmentation()->add_paste(10);
  const auto dataset = *OpenDataset(request.data());
  const auto worker_digest = [&] {
    return ViewMaker::Open(request.data(), *dataset)->FilesDigest(*dataset->Digest("train"));
  };
  {
    ResponseStream stream(request, Address());
    EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("data.augmentation.objects: no object database")));
  }
  ASSERT_THAT(WriteObjectDatabase(*dataset, "train", objects), IsOk());
  request.set_dataset_digest(worker_digest());
  EXPECT_EQ(ReadAll(request), 0);
  EXPECT_EQ(ReadAll(request), 4);

  // The folder gets other objects: nothing of the first ones is found under the new names, and whoever still has the
  // first ones is refused.
  const v1::StreamResponsesRequest before = request;
  std::filesystem::remove_all(objects);
  ASSERT_THAT(WriteObjectDatabase(*dataset, "train", objects, 60), IsOk());
  request.set_dataset_digest(worker_digest());
  ASSERT_NE(request.dataset_digest(), before.dataset_digest());
  EXPECT_EQ(ReadAll(request), 0);
  ResponseStream stream(before, Address());
  EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       ::testing::AllOf(HasSubstr(before.dataset_digest()), HasSubstr(request.dataset_digest()))));
}

TEST_F(TeacherTest, BadRequestsAreRefused) {
  v1::StreamResponsesRequest request = Request(1, 1);
  request.mutable_views(0)->set_view(9);
  {
    ResponseStream stream(request, Address());
    EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("views 0..1")));
  }
  request = Request(1, 1);
  request.mutable_views(0)->set_sample("999999");
  {
    ResponseStream stream(request, Address());
    EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("999999")));
  }
  request = Request(1, 1);
  request.clear_plan();
  ResponseStream stream(request, Address());
  EXPECT_THAT(stream.Next(absl::Now() + absl::Seconds(30)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("plan is empty")));
}

TEST_F(TeacherTest, ALostTeacherThatStaysAwayIsNamedAtTheDeadline) {
  const v1::StreamResponsesRequest request = Request(1, 1);
  ResponseStream stream(
      request, []() -> absl::StatusOr<std::string> { return absl::UnavailableError("no teacher is registered"); });
  EXPECT_THAT(stream.Next(absl::Now() + absl::Milliseconds(300)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no teacher is registered")));
}

TEST_F(TeacherTest, TheNegativeControlAnswersAnotherView) {
  v1::StreamResponsesRequest request = Request(1, 2);
  request.mutable_views()->DeleteSubrange(1, 1);
  request.set_view_offset(1);
  ResponseStream stream(request, Address());
  const auto response = stream.Next(absl::Now() + absl::Seconds(30));
  ASSERT_THAT(response, IsOk());
  const auto dataset = *OpenDataset(request.data());
  const Frame frame = *dataset->Read("000000");
  const ViewMaker views = *ViewMaker::Open(request.data(), *dataset);
  EXPECT_EQ(ParseRecord(response->records[0])->header.view_crc32c(), ViewChecksum(*views.Make(frame, 2)));
  EXPECT_NE(ParseRecord(response->records[0])->header.view_crc32c(), ViewChecksum(*views.Make(frame, 1)));
}

}  // namespace
}  // namespace kd
