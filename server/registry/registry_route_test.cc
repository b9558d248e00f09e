#include "server/registry/registry_route.h"

#include <string>

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

struct Case {
  const char* path;
  RegistryResource resource;
  const char* repository;
  const char* reference;
};

TEST(RegistryRouteTest, ReadsEveryPathOfTheApi) {
  for (const Case& expected : {
           Case{"/v2/", RegistryResource::kRoot, "", ""},
           Case{"/v2", RegistryResource::kRoot, "", ""},
           Case{"/v2/_catalog", RegistryResource::kCatalog, "", ""},
           Case{"/v2/a/tags/list", RegistryResource::kTags, "a", "list"},
           Case{"/v2/a/b/manifests/v1", RegistryResource::kManifest, "a/b", "v1"},
           Case{"/v2/a/b/blobs/sha256:12", RegistryResource::kBlob, "a/b", "sha256:12"},
           Case{"/v2/a/blobs/uploads/", RegistryResource::kUploads, "a", ""},
           Case{"/v2/a/blobs/uploads/17", RegistryResource::kUpload, "a", "17"},
       }) {
    const auto route = ParseRegistryRoute(expected.path);
    ASSERT_THAT(route, IsOk()) << expected.path;
    EXPECT_EQ(route->resource, expected.resource) << expected.path;
    EXPECT_EQ(route->repository, expected.repository) << expected.path;
    EXPECT_EQ(route->reference, expected.reference) << expected.path;
  }
}

TEST(RegistryRouteTest, ARepositoryMayBeCalledLikeAPartOfThePath) {
  const auto manifest = ParseRegistryRoute("/v2/a/blobs/uploads/manifests/v1");
  ASSERT_THAT(manifest, IsOk());
  EXPECT_EQ(manifest->repository, "a/blobs/uploads");
  const auto tags = ParseRegistryRoute("/v2/tags/list/tags/list");
  ASSERT_THAT(tags, IsOk());
  EXPECT_EQ(tags->repository, "tags/list");
}

TEST(RegistryRouteTest, RefusesWhatIsNoRepository) {
  for (const char* path : {"/v2/A/manifests/v1", "/v2/../manifests/v1", "/v2//manifests/v1",
                           "/v2/a/../b/blobs/sha256:1", "/v2/a b/tags/list"}) {
    EXPECT_THAT(ParseRegistryRoute(path), StatusIs(absl::StatusCode::kInvalidArgument)) << path;
  }
}

TEST(RegistryRouteTest, KnowsNoOtherPaths) {
  for (const char* path :
       {"/", "", "/v1/", "/v2/a", "/v2/a/tags", "/v2/manifests/v1", "/v2/a/manifests", "/v2/a/other/x"}) {
    EXPECT_THAT(ParseRegistryRoute(path), StatusIs(absl::StatusCode::kNotFound)) << path;
  }
}

}  // namespace
}  // namespace kd
