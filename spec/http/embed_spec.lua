-- What is installed is enough: the examples in C are built against it alone, and serve.
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local secure = require("secure")
local server = require("server")

local BUILD = os.getenv("TIDEGATE_BUILD") or "build"
local CC = os.getenv("TIDEGATE_CC") or "cc" -- as the library was compiled: coverage, sanitizers
local GIB = 2 ^ 30

-- What the command printed; an error when it fails.
local function sh(command, ...)
  local process <close> = assert(harness.spawn({ "sh", "-ec", command, "sh", ... }, {
    stdout = "pipe", stderr = "pipe", env = { MAKEFLAGS = false, MAKEOVERRIDES = false },
  }))
  local exit, why = process:wait(120)
  if exit ~= 0 then
    error(("%s\n%s: %s%s"):format(command, exit or why, process:output("stdout"),
      process:output("stderr")), 2)
  end
  return process:output("stdout"), process:output("stderr")
end

-- BUILD says which build, and CC all that SAN would.
local function make(target, destination, prefix)
  sh('make -s "$1" SAN= BUILD="$2" CC="$3" DESTDIR="$4" PREFIX="$5"', target, BUILD, CC, destination,
    prefix)
end

local function files_in(folder)
  return sh('cd "$1" && find . ! -type d | LC_ALL=C sort', folder)
end

local function lines_of(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

describe("an installed libtidegate", function()
  local dir

  -- Builds an example as its users would.
  local function build(name, static)
    local flags = '$(pkg-config --cflags --libs ' .. (static and "--static " or "") .. 'tidegate)'
    if static then flags = "$(echo \"" .. flags .. "\" | sed 's/-ltidegate/-l:libtidegate.a/')" end
    local program = dir .. "/" .. name .. (static and "-static" or "")
    sh(('export PKG_CONFIG_PATH="$1/lib/pkgconfig"; %s "examples/$2.c" %s -pthread -o "$3"'):format(CC,
      flags), dir, name, program)
    return program
  end

  local function start(program, env, script)
    env = env or {}
    env.LD_LIBRARY_PATH = dir .. "/lib"
    -- What is freed is not to count as used.
    env.ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "exitcode=99") .. ":quarantine_size_mb=1"
    -- Busted's own ways with SIGPIPE are not to be the program's.
    local argv = { "env", "--default-signal=PIPE", program, script }
    local process = assert(harness.spawn(argv, { env = env, stdout = "pipe", stderr = "pipe" }))
    local line = process:read_line("stdout", 30)
    if not line then error("it has printed nothing: " .. process:output("stderr")) end
    local urls = {}
    for url in line:gmatch("%S+") do urls[#urls + 1] = url end
    return process, table.unpack(urls)
  end

  setup(function()
    dir = server.folder()
    make("install", "", dir)
  end)
  teardown(function() server.remove_folder(dir) end)

  for _, static in ipairs({ false, true }) do
    local how = static and "the archive" or "the shared object"

    it("serves two gateways on a host's loop, linked with " .. how .. " (B67, B70)", function()
      local program = build("embed", static)
      assert.equal(not static, sh("LD_LIBRARY_PATH=$1/lib ldd $2", dir, program)
        :find("libtidegate.so.0 => " .. dir, 1, true) ~= nil)
      local process <close>, one, two = start(program, { SECONDS = "600" })
      assert.same({ 200, "Ada" }, { (function(r) return r.status, r.stdout end)(
        curl.run({ one .. "/hello/Ada" })) })
      assert.equal(200, curl.run({ two .. "/hello/B%C3%A9la" }).status)
      assert.equal(404, curl.run({ one .. "/" }).status)
      local ticks <close> = assert(harness.spawn({ "curl", "-sN", two .. "/" }, { stdout = "pipe" }))
      local seen = 0
      while seen < 3 do
        local line = assert(ticks:read_line("stdout", 20))
        if line == "data: tick" then seen = seen + 1 end
      end
      assert.equal("", process:output("stderr"))
    end)

    it("streams a gigabyte, and lets scripts wait for C, linked with " .. how .. " (B68, B70)", function()
      local process <close>, url = start(build("embed-stream", static))
      local hello = curl.run({ url .. "/work/hello" })
      assert.same({ 200, "HELLO" }, { hello.status, hello.stdout })
      local before = harness.hwm_kib(process:pid())
      local gigabyte = curl.run({ "--max-time", "120", "--output", "/dev/null", url .. "/gigabyte" })
      assert.same({ 0, 200, GIB }, { gigabyte.exit, gigabyte.status, gigabyte.size_download })
      local grown = harness.hwm_kib(process:pid()) - before
      assert(grown < (server.sanitized and 32768 or 8192), ("has grown by %d KiB"):format(grown))
      assert.equal("2", curl.run({ url .. "/count" }).stdout)
      assert.equal("", process:output("stderr"))
    end)
  end

  -- As a host's first lines are written from the manual, in both languages.
  local FIRST_LINES = [[
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tidegate.h>

static int my_setup(struct lua_State *L, void *arg) { (void)L; ++*(int *)arg; return 0; }
static void my_log(void *arg, enum tidegate_level level, const char *line)
{
    (void)arg;
    if (level >= TIDEGATE_WARN)
        fprintf(stderr, "%s\n", line);
}
static void my_handler(struct tidegate_exchange *x, void *arg)
{
    const char *id = tidegate_param(x, "id");
    (void)arg;
    tidegate_respond_bytes(x, 200, "text/plain", id, id ? 1 : 0);
}
int main(int argc, char **argv)
{
    int x = 0, y = 0;
    struct tidegate_options o;
    tidegate_options_init(&o, sizeof o);
    o.script_text = "return { routes = { { '/', get = function() return { body = 'Lua' } end } } }";
    o.listen = "127.0.0.1:0";
    o.base = NULL;
    o.setup = my_setup; o.setup_arg = &x;
    o.log = my_log; o.log_arg = &y;
    if (argc > 1) {
        static const char *more[] = {"127.0.0.1:0", "127.0.0.1:0"};
        o.addresses = more, o.address_count = 2;
        o.workers = (unsigned)atoi(argv[1]);
    }
    struct tidegate *g;
    if (tidegate_new(&g, &o) != TIDEGATE_OK)
        return 1;
    if (tidegate_route(g, "GET", "/c/:id", my_handler, NULL) || tidegate_start(g))
        return 2;
    for (size_t n = 0; tidegate_port(g, n); n++)
        printf("http://127.0.0.1:%u ", (unsigned)tidegate_port(g, n));
    printf("\n"), fflush(stdout);
    tidegate_run(g);
    tidegate_free(g);
    return x > 0 ? 0 : 3;
}
]]

  it("is declared for compilers that know their standard only (B67)", function()
    local source = dir .. "/strict.h"
    server.write(source, "#include <tidegate.h>\n")
    for _, compiler in ipairs({ "gcc -x c -std=c99", "gcc -x c -std=c11", "gcc -x c", "g++ -x c++ -std=c++11",
      "g++ -x c++ -std=c++20" }) do
      sh('export PKG_CONFIG_PATH="$1/lib/pkgconfig"; ' .. compiler
        .. ' -fsyntax-only -Wall -Wextra -pedantic-errors -Werror $(pkg-config --cflags tidegate) "$2"', dir, source)
    end
  end)

  for _, language in ipairs({ "c", "cc" }) do
    it("is hosted by the lines that its manual begins with, in a ." .. language .. " file (B67, B70)", function()
      local source, program = ("%s/first.%s"):format(dir, language), dir .. "/first-" .. language
      server.write(source, FIRST_LINES)
      sh(('export PKG_CONFIG_PATH="$1/lib/pkgconfig"; %s -Wall -Wextra -Werror "$2" $(pkg-config --cflags --libs tidegate) -pthread -o "$3"')
        :format((language == "cc" and CC:gsub("^%S+", "g++") or CC)), dir, source, program)
      for _, workers in ipairs({ false, "2" }) do
        local process <close>, one, two, three = start(program, nil, workers or nil)
        assert.same({ workers ~= false, workers ~= false }, { two ~= nil, three ~= nil })
        assert.equal("Lua", curl.run({ three or one }).stdout)
        assert.equal("7", curl.run({ (two or one) .. "/c/7" }).stdout)
        assert.equal("Lua", curl.run({ one }).stdout)
        assert.equal("", process:output("stderr"))
      end
    end)
  end

  it("lets its gateways go when the host's loop ends", function()
    local process <close> = start(build("embed"), { SECONDS = "1" })
    assert.equal(0, process:wait(60))
    assert.equal("", process:output("stderr"))
  end)

  it("serves on when clients leave in the middle of a body", function()
    local process <close>, url = start(build("embed-stream"), nil, [[
      return { routes = { { "/", get = function() return { body = ("x"):rep(50000000) } end } } }]])
    for _ = 1, 8 do sh('curl -sN "$1" | head -c 3000', url) end
    assert.equal(GIB, curl.run({ "-m", "120", "-o", "/dev/null", url .. "/gigabyte" }).size_download)
    assert.equal("", process:output("stderr"))
  end)

  describe("with SIGPIPE at its default", function()
    local HOST = [[
#include <stdio.h>
#include <event2/event.h>
#include <tidegate.h>
int main(int argc, char **argv)
{
    static const char *const addresses[] = {"http://127.0.0.1:0", "https://127.0.0.1:0"};
    struct tidegate_options o;
    struct tidegate *g;
    tidegate_options_init(&o, sizeof o);
    o.script = "host.lua", o.script_text = argv[1], o.addresses = addresses, o.address_count = 2;
    o.workers = 1, o.base = argc > 2 ? event_base_new() : NULL;
    if (tidegate_new(&g, &o) || tidegate_start(g))
        return fprintf(stderr, "%s\n", g ? tidegate_error(g) : "not enough memory"), 1;
    printf("%s %s\n", tidegate_listener(g, 0), tidegate_listener(g, 1)), fflush(stdout);
    return o.base ? event_base_dispatch(o.base) : (int)tidegate_run(g);
}
]]
    local SCRIPT = [[
local tg = require("tidegate")
local path = %q
return { tls = { cert = %q, key = %q }, routes = {
  { "/", get = function() return { body = "here" } end },
  { "/file", get = function() return { body = tg.file(path) } end },
  { "/stream", get = function()
    return { body = function(out) while true do out:write(("x"):rep(65536)) end end }
  end },
  { "/busy", get = function()
    return { body = function(out)
      out:write("begun")
      out:flush()
      local ends = os.clock() + 0.2
      while os.clock() < ends do end
    end }
  end },
} }]]

    local function send(c, target)
      c:send("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      return c
    end

    -- A client that leaves while the server is busy, whose next write is to a socket that nobody has: the
    -- server has been told of its room, and not yet of its end.
    local function leave(port, target, plain)
      local c <close> = send(assert(raw.connect(port)), target)
      assert(c:read_until("\r\n\r\n"))
      local first <close> = assert(raw.connect(plain))
      local second <close> = assert(raw.connect(plain))
      assert(send(second, "/"):read_until("here"))
      assert(send(first, "/busy"):read_until("begun"))
      send(second, "/busy")
      while c.socket:recv(1048576, 0.02) do end
      assert(second:read_until("begun"))
      c:shutdown_write()
      c:reset()
      assert(first:read_until("0\r\n\r\n"))
      assert(second:read_until("0\r\n\r\n"))
    end

    for _, loop in ipairs({ "own", "host's" }) do
      it("is not ended by clients that leave, on its " .. loop .. " loop", function()
        server.write(dir .. "/host.c", HOST)
        local file <close> = assert(io.open(dir .. "/big", "w"))
        file:seek("set", 200000000)
        file:write("x")
        file:flush()
        local pair = secure.certificate(dir, "localhost")
        sh(('export PKG_CONFIG_PATH="$1/lib/pkgconfig"; %s "$1/host.c" $(pkg-config --cflags --libs tidegate) -pthread -o "$1/host"')
          :format(CC), dir)
        local env = { LD_LIBRARY_PATH = dir .. "/lib" }
        local argv = { "env", "--default-signal=PIPE", dir .. "/host", SCRIPT:format(dir .. "/big", pair.cert, pair.key),
          loop == "host's" and "" or nil }
        local process <close> = assert(harness.spawn(argv, { env = env, stdout = "pipe", stderr = "pipe" }))
        local plain, tls = assert(process:read_line("stdout", 30), process:output("stderr")):match(":(%d+) .*:(%d+)")
        plain, tls = tonumber(plain), tonumber(tls)
        raw.secure[tls] = true
        finally(function() raw.secure[tls] = nil end)
        for _, target in ipairs({ "/file", "/stream" }) do
          for _ = 1, 3 do
            leave(plain, target, plain)
            leave(tls, target, plain)
          end
        end
        assert.equal("here", raw.get(plain, "/").body)
        assert.equal("here", raw.get(tls, "/").body)
        assert.equal("", process:output("stderr"))
      end)
    end
  end)

  it("has a header for C++", function()
    server.write(dir .. "/host.cc", [[
#include <tidegate.h>
int main()
{
    tidegate_options options;
    tidegate_options_init(&options, sizeof options);
    return options.size == sizeof options && TIDEGATE_OK == 0 ? 0 : 1;
}
]])
    sh('g++ -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$1/include" "$1/host.cc"', dir)
  end)

  it("exports the names of include/tidegate.symbols, and no others", function()
    local list = sh('nm -D --defined-only "$1" | awk \'{print $3}\' | LC_ALL=C sort',
      dir .. "/lib/libtidegate.so")
    assert.same(lines_of(server.read("include/tidegate.symbols")), lines_of(list))
  end)

  it("goes away again, all of it", function()
    local root = server.folder()
    finally(function() server.remove_folder(root) end)
    make("install", root, "/opt/tidegate")
    local installed = files_in(root)
    assert.matches("./opt/tidegate/bin/tidegate\n", installed, 1, true)
    assert.matches("./opt/tidegate/lib/libtidegate.so.0\n", installed, 1, true)
    assert.equal("/opt/tidegate", server.read(root .. "/opt/tidegate/lib/pkgconfig/tidegate.pc")
      :match("prefix=([^\n]*)"))
    make("uninstall", root, "/opt/tidegate")
    assert.equal("", files_in(root))
  end)
end)
