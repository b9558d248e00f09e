// kdctl cache and version: what the fleet is and what it keeps.
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/version.h"
#include "client/job_lines.h"
#include "client/json.h"
#include "client/session.h"
#include "client/table.h"

namespace kd {
namespace {

std::string HitShare(const v1::CacheStats::Tier& tier) {
  const uint64_t asked = tier.hits_total() + tier.misses_total();
  if (asked == 0) return "";
  return absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(tier.hits_total()) / static_cast<double>(asked));
}

void AddTiers(const v1::TeacherReplica& teacher, const v1::CacheStats& stats, Table& table) {
  for (const v1::CacheStats::Tier& tier : stats.tiers()) {
    nlohmann::ordered_json json = {{"teacher", teacher.digest()}, {"forwards_total", stats.forwards_total()}};
    json.update(MessageToJson(tier));
    table.rows.push_back({.name = absl::StrCat(teacher.digest(), "/", tier.name()),
                          .cells = {teacher.digest(), tier.name(), absl::StrCat(tier.records()),
                                    ShortBytes(tier.bytes()), ShortBytes(tier.capacity_bytes()), HitShare(tier),
                                    // The teacher's, not the tier's.
                                    &tier == &stats.tiers(0) ? absl::StrCat(stats.forwards_total()) : "",
                                    tier.read_only() ? "read-only" : "ok", absl::StrCat(tier.hits_total()),
                                    absl::StrCat(tier.misses_total()), absl::StrCat(tier.corrupt_total())},
                          .json = std::move(json)});
  }
}

int CacheStats(const std::string& output, Session& session) {
  FleetClient fleet(session.fleet);
  const absl::StatusOr<v1::ListTeachersResponse> teachers = fleet.ListTeachers();
  if (!teachers.ok()) return ReportFleetError(teachers.status(), "kdctl doctor");
  Table table{.columns = {{.title = "TEACHER", .cut = 19},
                          {"TIER"},
                          {"RECORDS"},
                          {"BYTES"},
                          {"CAPACITY"},
                          {"HITS"},
                          {"FORWARDS"},
                          {"STATE"},
                          {.title = "HITS-TOTAL", .wide = true},
                          {.title = "MISSES-TOTAL", .wide = true},
                          {.title = "CORRUPT-TOTAL", .wide = true}}};
  int asked = 0;
  absl::Status failure;
  for (const v1::TeacherReplica& teacher : teachers->teachers()) {
    if (teacher.state() != "ready") continue;
    ++asked;
    const absl::StatusOr<v1::CacheStats> stats = fleet.GetCacheStats(teacher.address());
    if (stats.ok()) {
      AddTiers(teacher, *stats, table);
    } else {
      failure = stats.status();
    }
  }
  // One silent teacher hides what the others say only when there are none.
  if (!failure.ok() && table.rows.empty()) return ReportError(failure, "kdctl get teachers");
  std::cout << RenderTable(table, output);
  if (!failure.ok()) Say(failure.message());
  if (asked == 0) Say("no teacher is ready; the fleet starts one when a job needs it");
  SayNext("kdctl get teachers");
  return kExitOk;
}

int Version(const Session& session) {
  std::cout << kVersion << "\n";
  FleetOptions quick = session.fleet;
  quick.deadline = kGlance;
  const absl::StatusOr<v1::Fleet> fleet = FleetClient(quick).GetFleet();
  if (fleet.ok()) {
    std::cout << "fleet " << fleet->version() << " at " << quick.address << "\n";
  } else {
    Say(absl::StrCat("no fleet answers at ", quick.address));
  }
  return kExitOk;
}

}  // namespace

void AddCacheCommands(CLI::App& app, Session& session) {
  const auto output = std::make_shared<std::string>("table");
  CLI::App* cache = app.add_subcommand("cache", "What teachers have kept")->group("Fleet")->require_subcommand(1);
  CLI::App* stats = cache->add_subcommand("stats", "Records, bytes and hits of every ready teacher's cache");
  stats->add_option("-o,--output", *output, "table, wide, json, yaml, csv or name")
      ->check(CLI::IsMember(ListFormats()));
  stats->callback([&session, output] { session.exit_code = CacheStats(*output, session); });
}

void AddVersionCommand(CLI::App& app, Session& session) {
  app.add_subcommand("version", "Versions of this program and of the fleet")
      ->group("This program")
      ->callback([&session] { session.exit_code = Version(session); });
}

}  // namespace kd
