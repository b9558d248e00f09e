#include "server/coordinator/worker_service.h"

#include "base/grpc_status.h"
#include "base/status.h"
#include "kd/v1/coordinator.grpc.pb.h"

namespace kd {
namespace {

class WorkerServiceImpl : public v1::WorkerService::Service {
 public:
  explicit WorkerServiceImpl(Coordinator& coordinator) : coordinator_(coordinator) {}

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::Assignment* response) override {
    return ToGrpcStatus(Take(coordinator_.Join(*request), response));
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    return ToGrpcStatus(Take(coordinator_.Heartbeat(*request), response));
  }
  grpc::Status CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest* request,
                                v1::CommitCheckpointResponse* response) override {
    return ToGrpcStatus(Take(coordinator_.CommitCheckpoint(*request), response));
  }
  grpc::Status Finish(grpc::ServerContext*, const v1::FinishRequest* request, v1::FinishResponse*) override {
    return ToGrpcStatus(coordinator_.Finish(*request));
  }
  grpc::Status Fail(grpc::ServerContext*, const v1::FailRequest* request, v1::FailResponse*) override {
    return ToGrpcStatus(coordinator_.Fail(*request));
  }
  grpc::Status RegisterTeacher(grpc::ServerContext*, const v1::RegisterTeacherRequest* request,
                               v1::RegisterTeacherResponse* response) override {
    return ToGrpcStatus(Take(coordinator_.RegisterTeacher(*request), response));
  }

 private:
  Coordinator& coordinator_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewWorkerService(Coordinator& coordinator) {
  return std::make_unique<WorkerServiceImpl>(coordinator);
}

}  // namespace kd
