#include "storage/sqlite/job_database.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace kd {
namespace {

// Every entry brings the schema from its index to the next number. Entries are never changed once released.
const char* const kMigrations[] = {
    "CREATE TABLE jobs(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, request_id TEXT UNIQUE,"
    " name TEXT NOT NULL, ended INTEGER NOT NULL, record BLOB NOT NULL);"
    "CREATE INDEX jobs_by_ended ON jobs(ended, number);"
    "CREATE INDEX jobs_by_name ON jobs(name, number);"
    "CREATE TABLE events(job TEXT NOT NULL, sequence INTEGER NOT NULL, event BLOB NOT NULL, PRIMARY KEY(job, sequence))"
    " WITHOUT ROWID;"
    "CREATE TABLE processes(name TEXT NOT NULL, pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, boot_id TEXT NOT "
    "NULL,"
    " PRIMARY KEY(name, pid)) WITHOUT ROWID;",
};
constexpr int kEventsRead = 1000;
constexpr int kVersion = sizeof(kMigrations) / sizeof(kMigrations[0]);

absl::Status ToStatus(sqlite3* handle, absl::string_view doing) {
  const std::string message = absl::StrCat("job database: ", doing, ": ", sqlite3_errmsg(handle));
  switch (sqlite3_errcode(handle)) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(message, "; free space on the coordinator's disk"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(message, "; restore the file from a backup"));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::FailedPreconditionError(
          absl::StrCat(message, "; another coordinator uses this folder: stop it or choose another"));
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(message);
    default:
      return absl::UnavailableError(message);
  }
}

// A prepared statement with its arguments; steps through rows.
class Statement {
 public:
  Statement(sqlite3* handle, const std::string& sql) : handle_(handle), sql_(sql) {
    if (sqlite3_prepare_v2(handle, sql.c_str(), -1, &statement_, nullptr) != SQLITE_OK) statement_ = nullptr;
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Text(const std::string& value) {
    sqlite3_bind_text64(statement_, ++bound_, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  Statement& TextOrNull(const std::string& value) {
    if (!value.empty()) return Text(value);
    sqlite3_bind_null(statement_, ++bound_);
    return *this;
  }
  Statement& Blob(const std::string& value) {
    sqlite3_bind_blob64(statement_, ++bound_, value.data(), value.size(), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& Int(int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }

  // True for a row, false at the end.
  absl::StatusOr<bool> Step() {
    if (statement_ == nullptr) return ToStatus(handle_, sql_);
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return ToStatus(handle_, sql_);
  }
  absl::Status Run() { return Step().status(); }

  std::string Column(int index) const {
    const auto* const data = static_cast<const char*>(sqlite3_column_blob(statement_, index));
    return data == nullptr ? "" : std::string(data, sqlite3_column_bytes(statement_, index));
  }
  int64_t Number(int index) const { return sqlite3_column_int64(statement_, index); }

 private:
  sqlite3* const handle_;
  const std::string sql_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

absl::Status Execute(sqlite3* handle, const std::string& sql) {
  if (sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return ToStatus(handle, sql.substr(0, 60));
}

// Rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(sqlite3* handle) : handle_(handle) {}
  ~Transaction() {
    if (open_) Execute(handle_, "ROLLBACK").IgnoreError();
  }
  absl::Status Begin() {
    KD_RETURN_IF_ERROR(Execute(handle_, "BEGIN IMMEDIATE"));
    open_ = true;
    return absl::OkStatus();
  }
  absl::Status Commit() {
    KD_RETURN_IF_ERROR(Execute(handle_, "COMMIT"));
    open_ = false;
    return absl::OkStatus();
  }

 private:
  sqlite3* const handle_;
  bool open_ = false;
};

template <typename Message>
absl::StatusOr<Message> Parse(const std::string& bytes, absl::string_view what) {
  Message message;
  if (!message.ParseFromString(bytes)) {
    return absl::DataLossError(absl::StrCat("job database: ", what, " cannot be read; restore the file from a backup"));
  }
  return message;
}

bool HasEnded(const v1::JobRecord& record) { return record.job().has_ended(); }

}  // namespace

absl::StatusOr<std::unique_ptr<JobDatabase>> JobDatabase::Open(const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<JobDatabase> database(new JobDatabase(handle));
  if (code != SQLITE_OK) return ToStatus(handle, absl::StrCat("opening ", path));
  absl::MutexLock lock(&database->mutex_);
  // The lock is taken by the first statement that writes and kept until the end of the process.
  for (const char* pragma : {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                             "BEGIN EXCLUSIVE", "COMMIT"}) {
    KD_RETURN_IF_ERROR(Annotate(Execute(handle, pragma), path));
  }
  KD_RETURN_IF_ERROR(Annotate(database->Migrate(), path));
  return database;
}

JobDatabase::~JobDatabase() { sqlite3_close_v2(handle_); }

absl::Status JobDatabase::Migrate() {
  int64_t version = 0;
  {
    Statement query(handle_, "PRAGMA user_version");
    KD_RETURN_IF_ERROR(query.Run());
    version = query.Number(0);
  }
  if (version > kVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the job database has schema ", version, ", this program knows ",
                                                      kVersion, "; run the newer kdfleet that wrote it"));
  }
  Transaction transaction(handle_);
  KD_RETURN_IF_ERROR(transaction.Begin());
  for (; version < kVersion; ++version) KD_RETURN_IF_ERROR(Execute(handle_, kMigrations[version]));
  KD_RETURN_IF_ERROR(Execute(handle_, absl::StrCat("PRAGMA user_version=", kVersion)));
  return transaction.Commit();
}

absl::Status JobDatabase::Insert(const v1::JobRecord& record, const v1::JobEvent& event) {
  return Write(record, event, /*is_new=*/true);
}

absl::Status JobDatabase::Update(const v1::JobRecord& record, const std::optional<v1::JobEvent>& event) {
  return Write(record, event, /*is_new=*/false);
}

absl::Status JobDatabase::Write(const v1::JobRecord& record, const std::optional<v1::JobEvent>& event, bool is_new) {
  absl::MutexLock lock(&mutex_);
  Transaction transaction(handle_);
  KD_RETURN_IF_ERROR(transaction.Begin());
  const v1::Job& job = record.job();
  if (is_new) {
    Statement insert(handle_, "INSERT INTO jobs(id, request_id, name, ended, record) VALUES(?, ?, ?, ?, ?)");
    KD_RETURN_IF_ERROR(insert.Text(job.id())
                           .TextOrNull(record.request_id())
                           .Text(job.pair().metadata().name())
                           .Int(HasEnded(record))
                           .Blob(record.SerializeAsString())
                           .Run());
  } else {
    Statement update(handle_, "UPDATE jobs SET ended = ?, record = ? WHERE id = ?");
    KD_RETURN_IF_ERROR(update.Int(HasEnded(record)).Blob(record.SerializeAsString()).Text(job.id()).Run());
    if (sqlite3_changes(handle_) == 0) return absl::NotFoundError(absl::StrCat("no job \"", job.id(), "\""));
  }
  if (event.has_value()) {
    Statement insert(handle_,
                     "INSERT INTO events(job, sequence, event)"
                     " VALUES(?1, (SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE job = ?1), ?2)");
    KD_RETURN_IF_ERROR(insert.Text(job.id()).Blob(event->SerializeAsString()).Run());
  }
  return transaction.Commit();
}

absl::StatusOr<std::vector<v1::JobRecord>> JobDatabase::Select(const std::string& clause,
                                                               const std::vector<std::string>& arguments) {
  absl::MutexLock lock(&mutex_);
  Statement query(handle_, absl::StrCat("SELECT record, id FROM jobs ", clause));
  for (const std::string& argument : arguments) query.Text(argument);
  std::vector<v1::JobRecord> records;
  while (true) {
    KD_ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return records;
    KD_ASSIGN_OR_RETURN(records.emplace_back(),
                        Parse<v1::JobRecord>(query.Column(0), absl::StrCat("job ", query.Column(1))));
  }
}

absl::StatusOr<std::vector<v1::JobRecord>> JobDatabase::Unfinished() {
  return Select("WHERE ended = 0 ORDER BY number", {});
}

absl::StatusOr<std::vector<v1::JobRecord>> JobDatabase::Newest(uint32_t limit, const std::string& name,
                                                               const std::string& before) {
  std::vector<std::string> conditions, arguments;
  if (!name.empty()) {
    conditions.push_back("name = ?");
    arguments.push_back(name);
  }
  if (!before.empty()) {
    KD_ASSIGN_OR_RETURN(const std::optional<v1::JobRecord> last, Find(before));
    if (!last.has_value()) return absl::NotFoundError(absl::StrCat("no job \"", before, "\""));
    conditions.push_back("number < (SELECT number FROM jobs WHERE id = ?)");
    arguments.push_back(before);
  }
  return Select(absl::StrCat(conditions.empty() ? "" : "WHERE ", absl::StrJoin(conditions, " AND "),
                             " ORDER BY number DESC LIMIT ", limit),
                arguments);
}

absl::StatusOr<std::optional<v1::JobRecord>> JobDatabase::Find(const std::string& id) {
  if (id.empty()) return std::nullopt;
  KD_ASSIGN_OR_RETURN(std::vector<v1::JobRecord> records, Select("WHERE id = ?", {id}));
  if (records.empty()) return std::nullopt;
  return std::move(records.front());
}

absl::StatusOr<std::optional<v1::JobRecord>> JobDatabase::FindRequest(const std::string& request_id) {
  if (request_id.empty()) return std::nullopt;
  KD_ASSIGN_OR_RETURN(std::vector<v1::JobRecord> records, Select("WHERE request_id = ?", {request_id}));
  if (records.empty()) return std::nullopt;
  return std::move(records.front());
}

absl::StatusOr<uint64_t> JobDatabase::NextNumber() {
  absl::MutexLock lock(&mutex_);
  Statement query(handle_, "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'jobs'");
  KD_RETURN_IF_ERROR(query.Run());
  return query.Number(0);
}

absl::StatusOr<std::vector<v1::JobEvent>> JobDatabase::Events(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  Statement query(handle_, absl::StrCat("SELECT event, sequence FROM (SELECT event, sequence FROM events WHERE job = ?"
                                        " ORDER BY sequence DESC LIMIT ",
                                        kEventsRead, ") ORDER BY sequence"));
  query.Text(id);
  std::vector<v1::JobEvent> events;
  while (true) {
    KD_ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return events;
    KD_ASSIGN_OR_RETURN(v1::JobEvent event, Parse<v1::JobEvent>(query.Column(0), absl::StrCat("an event of job ", id)));
    event.set_sequence(query.Number(1));
    events.push_back(std::move(event));
  }
}

absl::Status JobDatabase::PutProcess(const ProcessRow& process) {
  absl::MutexLock lock(&mutex_);
  Statement insert(handle_, "INSERT OR REPLACE INTO processes(name, pid, start_ticks, boot_id) VALUES(?, ?, ?, ?)");
  return insert.Text(process.name)
      .Int(process.pid)
      .Int(static_cast<int64_t>(process.start_ticks))
      .Text(process.boot_id)
      .Run();
}

absl::Status JobDatabase::RemoveProcess(const std::string& name, int64_t pid) {
  absl::MutexLock lock(&mutex_);
  Statement remove(handle_, "DELETE FROM processes WHERE name = ? AND pid = ?");
  return remove.Text(name).Int(pid).Run();
}

absl::StatusOr<std::vector<ProcessRow>> JobDatabase::Processes() {
  absl::MutexLock lock(&mutex_);
  Statement query(handle_, "SELECT name, pid, start_ticks, boot_id FROM processes ORDER BY name, pid");
  std::vector<ProcessRow> processes;
  while (true) {
    KD_ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return processes;
    processes.push_back({query.Column(0), query.Number(1), static_cast<uint64_t>(query.Number(2)), query.Column(3)});
  }
}

}  // namespace kd
