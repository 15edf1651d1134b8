// RocksDB behind a C interface, with every file read and written through TiKV's encryption (facts, encryption at rest
// §3.4, §4, §5.2). Whose key a file has, and what it does to bytes, is asked of Rust.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <lz4.h>
#include <zstd.h>

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/debug.h>
#include <rocksdb/write_batch.h>

using namespace rocksdb;

extern "C" {

// What Rust offers. A null cipher means plaintext; every function but the last two answers 0 for success.
struct KeyCalls {
  void* context;
  int (*open)(void* context, const char* path, void** cipher);
  int (*create)(void* context, const char* path, void** cipher);
  int (*remove)(void* context, const char* path);
  int (*link)(void* context, const char* from, const char* to);
  void (*apply)(void* cipher, uint64_t offset, char* data, size_t length);
  void (*release)(void* cipher);
};

struct Settings {
  uint64_t write_buffer;
  int max_open_files;
};

struct Part {
  const char* data;
  size_t length;
};

// One operation of a batch; without a value it deletes.
struct Operation {
  uint32_t family;
  int deletes;
  Part key;
  Part value;
};
}

namespace {

bool EndsWith(const std::string& text, const char* end) {
  size_t length = strlen(end);
  return text.size() >= length && text.compare(text.size() - length, length, end) == 0;
}

// Written in plaintext and without an entry by every TiKV of today.
bool NeverEncrypted(const std::string& path) { return EndsWith(path, "CURRENT") || EndsWith(path, "dbtmp.plain"); }

// The key stream of one open file.
class Cipher {
 public:
  Cipher(const KeyCalls* calls, void* cipher) : calls_(calls), cipher_(cipher) {}
  Cipher(const Cipher&) = delete;
  ~Cipher() { calls_->release(cipher_); }
  void Apply(uint64_t offset, char* data, size_t length) const {
    if (length > 0) calls_->apply(cipher_, offset, data, length);
  }

 private:
  const KeyCalls* calls_;
  void* cipher_;
};

using CipherPtr = std::unique_ptr<Cipher>;

void Decrypt(const Cipher& cipher, uint64_t offset, Slice* result, char* scratch) {
  if (result->empty()) return;
  if (result->data() != scratch) memmove(scratch, result->data(), result->size());
  cipher.Apply(offset, scratch, result->size());
  *result = Slice(scratch, result->size());
}

class SequentialFile : public FSSequentialFile {
 public:
  SequentialFile(std::unique_ptr<FSSequentialFile> file, CipherPtr cipher)
      : file_(std::move(file)), cipher_(std::move(cipher)) {}
  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch, IODebugContext* dbg) override {
    IOStatus status = file_->Read(n, options, result, scratch, dbg);
    if (!status.ok()) return status;
    Decrypt(*cipher_, offset_, result, scratch);
    offset_ += result->size();
    return status;
  }
  IOStatus Skip(uint64_t n) override {
    offset_ += n;
    return file_->Skip(n);
  }

 private:
  std::unique_ptr<FSSequentialFile> file_;
  CipherPtr cipher_;
  uint64_t offset_ = 0;
};

class RandomAccessFile : public FSRandomAccessFile {
 public:
  RandomAccessFile(std::unique_ptr<FSRandomAccessFile> file, CipherPtr cipher)
      : file_(std::move(file)), cipher_(std::move(cipher)) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* dbg) const override {
    IOStatus status = file_->Read(offset, n, options, result, scratch, dbg);
    if (status.ok()) Decrypt(*cipher_, offset, result, scratch);
    return status;
  }
  IOStatus Prefetch(uint64_t offset, size_t n, const IOOptions& options, IODebugContext* dbg) override {
    return file_->Prefetch(offset, n, options, dbg);
  }

 private:
  std::unique_ptr<FSRandomAccessFile> file_;
  CipherPtr cipher_;
};

class WritableFile : public FSWritableFileOwnerWrapper {
 public:
  WritableFile(std::unique_ptr<FSWritableFile>&& file, CipherPtr cipher, uint64_t size)
      : FSWritableFileOwnerWrapper(std::move(file)), cipher_(std::move(cipher)), offset_(size) {}
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    std::string bytes(data.data(), data.size());
    cipher_->Apply(offset_, &bytes[0], bytes.size());
    IOStatus status = target()->Append(bytes, options, dbg);
    if (status.ok()) offset_ += bytes.size();
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo&,
                  IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* dbg) override {
    std::string bytes(data.data(), data.size());
    cipher_->Apply(offset, &bytes[0], bytes.size());
    IOStatus status = target()->PositionedAppend(bytes, offset, options, dbg);
    if (status.ok()) offset_ = offset + bytes.size();
    return status;
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options, const DataVerificationInfo&,
                            IODebugContext* dbg) override {
    return PositionedAppend(data, offset, options, dbg);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* dbg) override {
    IOStatus status = target()->Truncate(size, options, dbg);
    if (status.ok()) offset_ = size;
    return status;
  }

 private:
  CipherPtr cipher_;
  uint64_t offset_;
};

class EncryptedFileSystem : public FileSystemWrapper {
 public:
  explicit EncryptedFileSystem(const KeyCalls& calls) : FileSystemWrapper(FileSystem::Default()), calls_(calls) {}
  const char* Name() const override { return "KeyManagedEncryptedFileSystem"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions& options,
                             std::unique_ptr<FSSequentialFile>* result, IODebugContext* dbg) override {
    IOStatus status = target()->NewSequentialFile(path, options, result, dbg);
    CipherPtr cipher;
    if (status.ok()) status = Open(path, &cipher);
    if (status.ok() && cipher) result->reset(new SequentialFile(std::move(*result), std::move(cipher)));
    return status;
  }
  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions& options,
                               std::unique_ptr<FSRandomAccessFile>* result, IODebugContext* dbg) override {
    IOStatus status = target()->NewRandomAccessFile(path, options, result, dbg);
    CipherPtr cipher;
    if (status.ok()) status = Open(path, &cipher);
    if (status.ok() && cipher) result->reset(new RandomAccessFile(std::move(*result), std::move(cipher)));
    return status;
  }
  // The entry is durable before the file is there.
  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) override {
    if (NeverEncrypted(path)) return target()->NewWritableFile(path, options, result, dbg);
    void* raw = nullptr;
    if (calls_.create(calls_.context, path.c_str(), &raw) != 0) return Refused(path);
    CipherPtr cipher(raw == nullptr ? nullptr : new Cipher(&calls_, raw));
    IOStatus status = target()->NewWritableFile(path, options, result, dbg);
    if (!status.ok()) {
      calls_.remove(calls_.context, path.c_str());
    } else if (cipher) {
      result->reset(new WritableFile(std::move(*result), std::move(cipher), 0));
    }
    return status;
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) override {
    uint64_t size = 0;
    if (!target()->GetFileSize(path, options.io_options, &size, dbg).ok()) {
      return NewWritableFile(path, options, result, dbg);
    }
    IOStatus status = target()->ReopenWritableFile(path, options, result, dbg);
    CipherPtr cipher;
    if (status.ok()) status = Open(path, &cipher);
    if (status.ok() && cipher) result->reset(new WritableFile(std::move(*result), std::move(cipher), size));
    return status;
  }
  IOStatus ReuseWritableFile(const std::string&, const std::string&, const FileOptions&,
                             std::unique_ptr<FSWritableFile>*, IODebugContext*) override {
    return IOStatus::NotSupported("reuse");
  }
  IOStatus NewRandomRWFile(const std::string&, const FileOptions&, std::unique_ptr<FSRandomRWFile>*,
                           IODebugContext*) override {
    return IOStatus::NotSupported("random write");
  }
  // First the file, then its entry.
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) override {
    IOStatus status = target()->DeleteFile(path, options, dbg);
    if (status.ok() && calls_.remove(calls_.context, path.c_str()) != 0) return Refused(path);
    return status;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* dbg) override {
    if (calls_.link(calls_.context, from.c_str(), to.c_str()) != 0) return Refused(from);
    IOStatus status = target()->LinkFile(from, to, options, dbg);
    if (!status.ok()) calls_.remove(calls_.context, to.c_str());
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* dbg) override {
    if (EndsWith(to, "CURRENT")) return RenameToCurrent(from, to, options, dbg);
    if (calls_.link(calls_.context, from.c_str(), to.c_str()) != 0) return Refused(from);
    IOStatus status = target()->RenameFile(from, to, options, dbg);
    calls_.remove(calls_.context, status.ok() ? from.c_str() : to.c_str());
    return status;
  }

 private:
  IOStatus Open(const std::string& path, CipherPtr* cipher) {
    if (NeverEncrypted(path)) return IOStatus::OK();
    void* raw = nullptr;
    if (calls_.open(calls_.context, path.c_str(), &raw) != 0) return Refused(path);
    if (raw != nullptr) cipher->reset(new Cipher(&calls_, raw));
    return IOStatus::OK();
  }
  // TiKV's RocksDB writes CURRENT by way of a file of its own kind, NUMBER.dbtmp.plain; this RocksDB does not know that
  // kind, so its temporary file is written out again in plaintext under that name.
  IOStatus RenameToCurrent(const std::string& from, const std::string& to, const IOOptions& options,
                           IODebugContext* dbg) {
    std::string content;
    IOStatus status = ReadFileToString(this, from, &content);
    const std::string plain = from + ".plain";
    if (status.ok()) status = WriteStringToFile(target(), content, plain, true);
    if (status.ok()) status = target()->RenameFile(plain, to, options, dbg);
    if (status.ok()) status = DeleteFile(from, options, dbg);
    calls_.remove(calls_.context, to.c_str());
    return status;
  }
  static IOStatus Refused(const std::string& path) {
    return IOStatus::IOError("encryption", path + ": refused by the dictionaries");
  }
  KeyCalls calls_;
};

const char* const kFamilies[] = {"default", "lock", "write", "raft"};

char* Text(const Status& status) { return strdup(status.ToString().c_str()); }

}  // namespace

extern "C" {

struct Engine {
  std::unique_ptr<Env> env;
  DB* db = nullptr;
  std::vector<ColumnFamilyHandle*> families;
};

// Opens or makes a database with TiKV's column families. The log goes to `log`, as TiKV's own logger does it.
Engine* engine_open(const char* path, const char* log, const KeyCalls* calls, const Settings* settings, char** error) {
  auto engine = std::make_unique<Engine>();
  engine->env = NewCompositeEnv(std::make_shared<EncryptedFileSystem>(*calls));
  Options options;
  options.env = engine->env.get();
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.write_buffer_size = settings->write_buffer;
  options.max_open_files = settings->max_open_files;
  options.max_background_jobs = 2;
  options.compression = kLZ4Compression;
  options.keep_log_file_num = 1;
  Env::Default()->NewLogger(log, &options.info_log);
  BlockBasedTableOptions table;
  table.filter_policy.reset(NewBloomFilterPolicy(10, false));
  // TiKV's size of a block.
  table.block_size = 32 << 10;
  options.table_factory.reset(NewBlockBasedTableFactory(table));
  std::vector<ColumnFamilyDescriptor> descriptors;
  for (const char* name : kFamilies) descriptors.emplace_back(name, ColumnFamilyOptions(options));
  Status status = DB::Open(DBOptions(options), path, descriptors, &engine->families, &engine->db);
  if (!status.ok()) {
    *error = Text(status);
    return nullptr;
  }
  return engine.release();
}

void engine_close(Engine* engine) {
  for (ColumnFamilyHandle* family : engine->families) engine->db->DestroyColumnFamilyHandle(family);
  engine->db->Close();
  delete engine->db;
  delete engine;
}

// All operations or none.
char* engine_write(Engine* engine, const Operation* operations, size_t count, int sync) {
  WriteBatch batch;
  for (size_t i = 0; i < count; ++i) {
    const Operation& one = operations[i];
    Slice key(one.key.data, one.key.length);
    ColumnFamilyHandle* family = engine->families[one.family];
    if (one.deletes) {
      batch.Delete(family, key);
    } else {
      batch.Put(family, key, Slice(one.value.data, one.value.length));
    }
  }
  WriteOptions options;
  options.sync = sync != 0;
  Status status = engine->db->Write(options, &batch);
  return status.ok() ? nullptr : Text(status);
}

// 0 found, 1 not found, 2 failed. What is found is released with `free`.
int engine_get(Engine* engine, uint32_t family, Part key, char** value, size_t* length, char** error) {
  std::string found;
  Status status =
      engine->db->Get(ReadOptions(), engine->families[family], Slice(key.data, key.length), &found);
  if (status.IsNotFound()) return 1;
  if (!status.ok()) {
    *error = Text(status);
    return 2;
  }
  *length = found.size();
  *value = static_cast<char*>(malloc(found.size() + 1));
  memcpy(*value, found.data(), found.size());
  return 0;
}

Iterator* engine_iterate(Engine* engine, uint32_t family) {
  ReadOptions options;
  options.total_order_seek = true;
  return engine->db->NewIterator(options, engine->families[family]);
}

void iterator_seek(Iterator* iterator, Part key) { iterator->Seek(Slice(key.data, key.length)); }
void iterator_seek_back(Iterator* iterator, Part key) { iterator->SeekForPrev(Slice(key.data, key.length)); }
void iterator_next(Iterator* iterator) { iterator->Next(); }
void iterator_previous(Iterator* iterator) { iterator->Prev(); }
int iterator_valid(Iterator* iterator) { return iterator->Valid() ? 1 : 0; }
char* iterator_error(Iterator* iterator) { return iterator->status().ok() ? nullptr : Text(iterator->status()); }
Part iterator_key(Iterator* iterator) { return {iterator->key().data(), iterator->key().size()}; }
Part iterator_value(Iterator* iterator) { return {iterator->value().data(), iterator->value().size()}; }
void iterator_release(Iterator* iterator) { delete iterator; }

// Tells every newest version of a key that is an index of a Titan blob; RocksDB itself cannot read those.
char* engine_blob_indexes(Engine* engine, void* context, void (*tell)(void* context, Part key, Part value)) {
  const int kBlobIndex = 0x11;
  std::vector<KeyVersion> versions;
  Status status = GetAllKeyVersions(engine->db, engine->families[0], Slice(), Slice(), SIZE_MAX, &versions);
  if (!status.ok()) return Text(status);
  const std::string* last = nullptr;
  for (const KeyVersion& version : versions) {
    bool newest = last == nullptr || *last != version.user_key;
    last = &version.user_key;
    if (!newest || version.type != kBlobIndex) continue;
    tell(context, {version.user_key.data(), version.user_key.size()}, {version.value.data(), version.value.size()});
  }
  return nullptr;
}

char* engine_flush(Engine* engine) {
  Status status = engine->db->Flush(FlushOptions(), engine->families);
  return status.ok() ? nullptr : Text(status);
}

// Compacts a family. With `force` the lowest level is written again too: its tables then have the current data key.
char* engine_compact(Engine* engine, uint32_t family, uint32_t threads, int force) {
  CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.max_subcompactions = threads;
  options.bottommost_level_compaction =
      force ? BottommostLevelCompaction::kForce : BottommostLevelCompaction::kIfHaveCompactionFilter;
  Status status = engine->db->CompactRange(options, engine->families[family], nullptr, nullptr);
  return status.ok() ? nullptr : Text(status);
}

// Decompresses a Titan record; the length is known. 0 for success.
int engine_inflate(int kind, Part input, char* output, size_t length) {
  if (kind == kZSTD) return ZSTD_decompress(output, length, input.data, input.length) == length ? 0 : 1;
  if (kind != kLZ4Compression) return 1;
  int done = LZ4_decompress_safe(input.data, output, static_cast<int>(input.length), static_cast<int>(length));
  return done == static_cast<int>(length) ? 0 : 1;
}
}
