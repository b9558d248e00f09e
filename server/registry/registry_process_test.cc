// kd-registry as a program: it starts, is killed, starts again, and skopeo pulls from it.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http/http_client.h"
#include "base/http/http_testing.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "storage/registry/registry_client.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A program whose stderr the test reads.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDERR_FILENO);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    stderr_ = ::fdopen(ends[0], "r");
  }
  ~Program() {
    if (pid_ > 0) End(SIGKILL);
    if (stderr_ != nullptr) std::fclose(stderr_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Reads stderr up to a line that contains `text`; false if the program ends first.
  bool AwaitLine(const std::string& text) {
    char line[4096];
    while (std::fgets(line, sizeof(line), stderr_) != nullptr) {
      said_ += line;
      if (absl::StrContains(line, text)) return true;
    }
    return false;
  }
  const std::string& said() const { return said_; }
  pid_t pid() const { return pid_; }

  // Sends a signal and returns the wait status.
  int End(int signal) {
    ::kill(pid_, signal);
    return Wait();
  }
  int Wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  std::FILE* stderr_ = nullptr;
  std::string said_;
};

class RegistryProcessTest : public ::testing::Test {
 protected:
  void Start() {
    program_ = std::make_unique<Program>(std::vector<std::string>{
        BinDir() + "/kd-registry", "--folder", folder_ / "registry", "--address-file", folder_ / "address"});
    ASSERT_TRUE(program_->AwaitLine("serving")) << program_->said();
    const auto address = ReadFile(folder_ / "address");
    ASSERT_THAT(address, IsOk());
    address_ = *address;
  }
  RegistryClient Client() { return RegistryClient(absl::StrCat("http://", address_)); }
  Artifact ArtifactOf(const std::string& content) {
    EXPECT_THAT(WriteFileAtomically(folder_ / "weights", content), IsOk());
    return {.artifact_type = std::string(kStudentArtifactType),
            .files = {
                {.name = "model.safetensors", .media_type = "application/octet-stream", .path = folder_ / "weights"}}};
  }

  const TemporaryFolder folder_;
  std::string address_;
  std::unique_ptr<Program> program_;
};

TEST_F(RegistryProcessTest, ServesOperatorsOnItsPortAndStopsOnSigterm) {
  Start();
  HttpClient client(*ParseHttpAddress(address_));
  ASSERT_THAT(Client().Push("a", "v1", ArtifactOf("weights")), IsOk());
  EXPECT_THAT(client.Call({.target = "/metrics"})->body, HasSubstr("kd_registry_requests_total"));
  EXPECT_EQ(client.Call({.target = "/healthz"})->status, 200);
  EXPECT_EQ(client.Call({.target = "/readyz"})->status, 200);
  const int status = program_->End(SIGTERM);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(RegistryProcessTest, IdlesInFiftyMebibytes) {
  Start();
  std::ifstream file(absl::StrCat("/proc/", program_->pid(), "/status"));
  std::stringstream status;
  status << file.rdbuf();
  const size_t at = status.str().find("VmRSS:");
  ASSERT_NE(at, std::string::npos);
  // Sanitizers bring memory of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(std::strtol(status.str().c_str() + at + 6, nullptr, 10), 50 * 1024);
#endif
}

TEST_F(RegistryProcessTest, RefusesToListenWhereOthersReachIt) {
  for (const char* listen : {"0.0.0.0:0", "[::]:0", "192.0.2.1:5000"}) {
    Program program({BinDir() + "/kd-registry", "--folder", folder_ / "registry", "--listen", listen});
    EXPECT_TRUE(program.AwaitLine(listen));
    EXPECT_THAT(program.said(), AllOf(HasSubstr("no authentication"), HasSubstr("--listen 127.0.0.1")));
    const int status = program.Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2);
  }
}

TEST_F(RegistryProcessTest, ASecondProcessOnTheFolderIsRefused) {
  Start();
  Program second({BinDir() + "/kd-registry", "--folder", folder_ / "registry"});
  EXPECT_TRUE(second.AwaitLine("another process"));
  const int status = second.Wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

TEST_F(RegistryProcessTest, HostileRequestsDoNotEndIt) {
  Start();
  const std::string push =
      absl::StrCat("POST /v2/a/blobs/uploads/?digest=", Sha256Digest("abc"), " HTTP/1.1\r\nHost: x\r\n");
  for (const std::string& bytes :
       {std::string(1 << 20, '\0'), std::string(1 << 20, 'A'),
        absl::StrCat("GET /", std::string(1 << 20, 'a'), " HTTP/1.1\r\n\r\n"),
        absl::StrCat("GET /v2/ HTTP/1.1\r\nX: ", std::string(1 << 20, 'x'), "\r\n\r\n"),
        absl::StrCat(push, "Content-Length: 99999999999999999999\r\n\r\nabc"),
        absl::StrCat(push, "Content-Length: 999999999999999999\r\n\r\nabc"),
        absl::StrCat(push, "Content-Length: 3\r\n\r\nab"),
        absl::StrCat(push, "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"),
        absl::StrCat(push, "Transfer-Encoding: chunked\r\n\r\n3\r\nab"),
        std::string("GET /v2/%00 HTTP/1.1\r\nHost: x\r\n\r\n"), std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        std::string("PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n{}")}) {
    AnswerToRaw(address_, bytes);
  }
  EXPECT_THAT(Client().Push("a", "v1", ArtifactOf("weights")), IsOk());
}

TEST_F(RegistryProcessTest, WhatWasAcknowledgedSurvivesKillAtAnyMoment) {
  constexpr int kRounds = 6;
  absl::Mutex mutex;
  std::map<std::string, std::string> acknowledged;  // tag to digest
  std::map<std::string, std::string> contents;
  for (int round = 0; round < kRounds; ++round) {
    Start();
    const size_t before = acknowledged.size();
    std::thread pusher([&, client = Client()]() mutable {
      for (int i = 0;; ++i) {
        const std::string tag = absl::StrCat("v", round, ".", i);
        const std::string content = absl::StrCat(std::string(300 << 10, 'w'), tag);
        const auto digest = client.Push("students/a", tag, ArtifactOf(content));
        absl::MutexLock lock(&mutex);
        if (!digest.ok()) return;
        acknowledged[tag] = *digest;
        contents[tag] = content;
      }
    });
    {
      // The kill meets the push that follows the round's first ones.
      const size_t enough = before + 1 + round;
      const auto some_are_done = [&] { return acknowledged.size() >= enough; };
      absl::MutexLock lock(&mutex);
      mutex.Await(absl::Condition(&some_are_done));
    }
    program_->End(SIGKILL);
    pusher.join();
  }
  Start();
  RegistryClient client = Client();
  for (const auto& [tag, digest] : acknowledged) {
    EXPECT_THAT(client.Resolve("students/a", tag), IsOkAndHolds(digest));
    const TemporaryFolder target;
    ASSERT_THAT(client.Pull("students/a", tag, target.path()), IsOk());
    EXPECT_THAT(ReadFile(target / "model.safetensors"), IsOkAndHolds(contents[tag]));
  }
  EXPECT_THAT(client.Push("students/a", "after", ArtifactOf("after")), IsOk());
}

TEST_F(RegistryProcessTest, AnUploadContinuesAfterAKill) {
  Start();
  const auto started =
      HttpClient(*ParseHttpAddress(address_)).Call({.method = "POST", .target = "/v2/a/blobs/uploads/"});
  ASSERT_THAT(started, IsOk());
  const std::string upload(started->headers.Get("Location"));
  ASSERT_EQ(HttpClient(*ParseHttpAddress(address_)).Call({.method = "PATCH", .target = upload, .body = "a"})->status,
            202);
  program_->End(SIGKILL);
  Start();
  const auto closed = HttpClient(*ParseHttpAddress(address_))
                          .Call({.method = "PUT",
                                 .target = absl::StrCat(upload, "?digest=", Sha256Digest("abc")),
                                 .headers = {{"Content-Range", "1-2"}},
                                 .body = "bc"});
  ASSERT_THAT(closed, IsOk());
  EXPECT_EQ(closed->status, 201);
}

TEST_F(RegistryProcessTest, SkopeoPullsByTagAndDigest) {
  if (std::system("command -v skopeo >/dev/null") != 0)
    GTEST_SKIP() << "skopeo is not installed: apt-get install skopeo";
  Start();
  const std::string weights(1 << 20, 'w');
  const auto digest = Client().Push("students/a", "v1", ArtifactOf(weights));
  ASSERT_THAT(digest, IsOk());
  for (const std::string& reference : {std::string(":v1"), absl::StrCat("@", *digest)}) {
    const TemporaryFolder target;
    // skopeo wants a policy; the machine may have none.
    ASSERT_EQ(std::system(absl::StrCat("skopeo --insecure-policy --tmpdir ", target.path(),
                                       " copy -q --src-tls-verify=false docker://", address_, "/students/a", reference,
                                       " dir:", target / "out")
                              .c_str()),
              0);
    const auto manifest = ReadFile(target / "out/manifest.json");
    ASSERT_THAT(manifest, IsOk());
    EXPECT_EQ(Sha256Digest(*manifest), *digest);
    // skopeo names a layer's file by its digest.
    EXPECT_THAT(ReadFile(target / absl::StrCat("out/", Sha256Digest(weights).substr(7))), IsOkAndHolds(weights));
  }
}

TEST_F(RegistryProcessTest, SkopeoPushesWhatItPulled) {
  if (std::system("command -v skopeo >/dev/null") != 0)
    GTEST_SKIP() << "skopeo is not installed: apt-get install skopeo";
  Start();
  const auto digest = Client().Push("students/a", "v1", ArtifactOf("weights"));
  ASSERT_THAT(digest, IsOk());
  ASSERT_EQ(std::system(absl::StrCat("skopeo --insecure-policy --tmpdir ", folder_.path(),
                                     " copy -q --src-tls-verify=false docker://", address_,
                                     "/students/a:v1 dir:", folder_ / "out")
                            .c_str()),
            0);
  program_->End(SIGKILL);
  std::filesystem::remove_all(folder_ / "registry");
  Start();
  ASSERT_EQ(std::system(absl::StrCat("skopeo --insecure-policy --tmpdir ", folder_.path(),
                                     " copy -q --dest-tls-verify=false dir:", folder_ / "out", " docker://", address_,
                                     "/copies/a:v2")
                            .c_str()),
            0);
  EXPECT_THAT(Client().Resolve("copies/a", "v2"), IsOkAndHolds(*digest));
  const TemporaryFolder target;
  ASSERT_THAT(Client().Pull("copies/a", "v2", target.path()), IsOk());
  EXPECT_THAT(ReadFile(target / "model.safetensors"), IsOkAndHolds("weights"));
}

TEST_F(RegistryProcessTest, SkopeoRefusesADamagedBlob) {
  if (std::system("command -v skopeo >/dev/null") != 0)
    GTEST_SKIP() << "skopeo is not installed: apt-get install skopeo";
  Start();
  ASSERT_THAT(Client().Push("students/a", "v1", ArtifactOf("weights")), IsOk());
  const std::string hex = Sha256Digest("weights").substr(7);
  std::ofstream(folder_ / absl::StrCat("registry/blobs/sha256/", hex.substr(0, 2), "/", hex)) << "wXights";
  EXPECT_NE(std::system(absl::StrCat("skopeo --insecure-policy --tmpdir ", folder_.path(),
                                     " copy -q --src-tls-verify=false docker://", address_,
                                     "/students/a:v1 dir:", folder_ / "out", " 2>", folder_ / "refusal")
                            .c_str()),
            0);
}

}  // namespace
}  // namespace kd
