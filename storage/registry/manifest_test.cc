#include "storage/registry/manifest.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/digest.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "core/registry_reference.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

// An artifact as the image specification shows it: an empty config, layers that are files.
constexpr char kArtifact[] = R"({
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "artifactType": "application/vnd.kdfleet.student.v1",
  "config": {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2
  },
  "layers": [
    {
      "mediaType": "application/octet-stream",
      "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      "size": 3,
      "annotations": {"org.opencontainers.image.title": "abc.bin"}
    }
  ],
  "annotations": {"kd.teacher": "sim"}
})";

TEST(ManifestTest, ReadsAnArtifact) {
  const auto manifest = ParseManifest(kArtifact, kImageManifestType);
  ASSERT_THAT(manifest, IsOk());
  EXPECT_EQ(manifest->kind, ManifestKind::kImage);
  EXPECT_EQ(manifest->artifact_type, "application/vnd.kdfleet.student.v1");
  EXPECT_EQ(manifest->config.digest, Sha256Digest("{}"));
  ASSERT_EQ(manifest->layers.size(), 1u);
  EXPECT_EQ(manifest->layers[0].digest, Sha256Digest("abc"));
  EXPECT_EQ(manifest->layers[0].size, 3u);
  EXPECT_THAT(manifest->layers[0].annotations, UnorderedElementsAre(Pair("org.opencontainers.image.title", "abc.bin")));
  EXPECT_THAT(manifest->annotations, UnorderedElementsAre(Pair("kd.teacher", "sim")));
}

TEST(ManifestTest, WhatIsWrittenReadsBackTheSame) {
  const auto manifest = ParseManifest(kArtifact, kImageManifestType);
  ASSERT_THAT(manifest, IsOk());
  const std::string written = ImageManifestJson(*manifest);
  const auto again = ParseManifest(written, kImageManifestType);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(ImageManifestJson(*again), written);
  EXPECT_EQ(again->layers[0].annotations, manifest->layers[0].annotations);
  EXPECT_EQ(again->artifact_type, manifest->artifact_type);
}

TEST(ManifestTest, ReadsAnIndexWithoutEntries) {
  const auto manifest = ParseManifest(R"({"schemaVersion": 2, "manifests": []})", kImageIndexType);
  ASSERT_THAT(manifest, IsOk());
  EXPECT_EQ(manifest->kind, ManifestKind::kIndex);
  EXPECT_TRUE(manifest->manifests.empty());
}

struct BadManifest {
  const char* name;
  const char* from;  // replaced in kArtifact
  const char* to;
  const char* message;
};

class BadManifestTest : public ::testing::TestWithParam<BadManifest> {};

TEST_P(BadManifestTest, IsRefusedWithItsField) {
  const std::string bytes = absl::StrReplaceAll(kArtifact, {{GetParam().from, GetParam().to}});
  ASSERT_NE(bytes, kArtifact);
  EXPECT_THAT(ParseManifest(bytes, kImageManifestType),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Manifests, BadManifestTest,
    ::testing::Values(BadManifest{"NotJson", "{\n", "[", "not a JSON object"},
                      BadManifest{"OldSchema", ": 2,\n  \"mediaType\"", ": 1,\n  \"mediaType\"", "schemaVersion"},
                      BadManifest{"OtherOwnType", "image.manifest", "image.index", "mediaType"},
                      BadManifest{"NoConfig", "\"config\": {", "\"confic\": {", "config is missing"},
                      BadManifest{"NoLayers", "\"layers\"", "\"layer\"", "layers must be a list"},
                      BadManifest{"ShortDigest", "20015ad", "", "layers[0].digest"},
                      BadManifest{"PathAsDigest", "sha256:ba7816", "../../ba7816", "layers[0].digest"},
                      BadManifest{"NegativeSize", "\"size\": 3", "\"size\": -3", "layers[0].size"},
                      BadManifest{"TextAsSize", "\"size\": 3", "\"size\": \"3\"", "layers[0].size"},
                      BadManifest{"HugeSize", "\"size\": 3", "\"size\": 18446744073709551615", "layers[0].size"},
                      BadManifest{"NumberAsTitle", "\"abc.bin\"", "7", "layers[0].annotations"},
                      BadManifest{"NumberAsArtifactType", "\"application/vnd.kdfleet.student.v1\"", "7",
                                  "artifactType"},
                      BadManifest{"BrokenSubject", "\"layers\"", "\"subject\": {}, \"layers\"", "subject.mediaType"}),
    [](const auto& info) { return info.param.name; });

TEST(ManifestTest, RefusesOtherMediaTypes) {
  for (const char* type : {"", "text/html", "application/vnd.docker.distribution.manifest.v1+json"}) {
    EXPECT_THAT(ParseManifest(kArtifact, type),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(absl::StrCat("\"", type, "\""))));
  }
}

TEST(ManifestTest, DeepNestingIsRefusedNotFollowed) {
  EXPECT_THAT(ParseManifest(std::string(kMaxManifestBytes, '['), kImageManifestType),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseManifest(absl::StrCat(std::string(1 << 20, '['), std::string(1 << 20, ']')), kImageManifestType),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ManifestTest, NonDistributableLayersAreKnown) {
  EXPECT_TRUE(IsNonDistributable({.media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}));
  EXPECT_TRUE(IsNonDistributable({.media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}));
  EXPECT_FALSE(IsNonDistributable({.media_type = "application/vnd.oci.image.layer.v1.tar+gzip"}));
}

TEST(ManifestTest, HostileBytesAreRefusedInOneLineOrHoldDigests) {
  int read = 0, refused = 0;
  ForHostileInput(kArtifact, 5000, [&](const std::string& bytes) {
    const auto manifest = ParseManifest(bytes, kImageManifestType);
    if (!manifest.ok()) {
      ++refused;
      ASSERT_EQ(manifest.status().code(), absl::StatusCode::kInvalidArgument);
      ASSERT_THAT(manifest.status().message(), IsOneLine());
      return;
    }
    ++read;
    ASSERT_TRUE(IsDigest(manifest->config.digest));
    for (const Descriptor& layer : manifest->layers) ASSERT_TRUE(IsDigest(layer.digest));
  });
  EXPECT_GT(read, 300);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace kd
