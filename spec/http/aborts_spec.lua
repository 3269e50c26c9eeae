-- A response that is broken off is whole to no client, whatever it is written in (B33, B34).
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")

local function fails() error("broken off", 0) end
local function write_then(finish)
  return function(out)
    out:write(("x"):rep(1000))
    out:flush()
    finish(out)
  end
end
local Self = { __write_body = function(_, out) write_then(fails)(out) end }

local bodies = {
  ["function"] = function() return write_then(fails) end,
  generator = function()
    return tg.generate(function(yield) yield(("x"):rep(1000)) tg.sleep(0.01) fails() end)
  end,
  coroutine = function()
    return coroutine.create(function() coroutine.yield(("x"):rep(1000)) tg.sleep(0.01) fails() end)
  end,
  sequence = function()
    local n = 0
    return tg.seq(function()
      n = n + 1
      if n == 3 then tg.sleep(0.01) fails() end
      return ("x"):rep(500)
    end)
  end,
  leaf = function() return { a = ("x"):rep(1000), b = write_then(fails) } end,
  element = function() return { ("x"):rep(1000), { write_then(fails) } } end,
  writes_itself = function() return setmetatable({}, Self) end,
  unprintable = function() return { ("x"):rep(100000), function(out) out:flush() end, 0 / 0 } end,
  waits = function() return write_then(function() tg.timeout(0.01, tg.sleep, 100) end) end,
  task = function() return write_then(function() tg.spawn(fails):join() end) end,
  spins = function() return write_then(function() while true do end end) end,
}

local routes = {
  { "/length", get = function()
    return { headers = { ["Content-Length"] = 5000 }, body = write_then(fails) }
  end },
  { "/short", get = function()
    return { headers = { ["Content-Length"] = 5000 }, body = write_then(function() end) }
  end },
  { "/long", get = function()
    return { headers = { ["Content-Length"] = 1500 }, body = write_then(write_then(function() end)) }
  end },
  { "/by-hand", get = function(_, ctx)
    ctx:write_response({ body = ("x"):rep(1000) })
    ctx:flush()
    fails()
  end },
  { "/by-hand-leave", get = { { name = "l", leave = fails }, function(_, ctx)
    ctx:write_response({ body = ("x"):rep(1000) })
    ctx:flush()
  end } },
  { "/much", get = function()
    return { body = function(out) for _ = 1, 100 do out:write(("x"):rep(10000)) end fails() end }
  end },
}
for name, body in pairs(bodies) do
  routes[#routes + 1] = { "/" .. name, get = function() return { body = body() } end }
end
return { limits = { script = 0.3 }, routes = routes }
]]

-- Exits with 0 when the body came to a right end, with 3 when the client has seen that it did not.
local PYTHON = [[
import http.client, sys
class Old(http.client.HTTPConnection):
    _http_vsn = 10
    _http_vsn_str = "HTTP/1.0"
kind = Old if sys.argv[3] == "1.0" else http.client.HTTPConnection
connection = kind("127.0.0.1", int(sys.argv[1]), timeout=20)
connection.request("GET", sys.argv[2])
try:
    connection.getresponse().read()
except (http.client.IncompleteRead, ConnectionResetError) as why:
    print(type(why).__name__)
    sys.exit(3)
]]

local NODE = [[
fetch(process.argv[2]).then(async (response) => {
  try {
    await response.text();
  } catch (why) {
    console.log(String(why));
    process.exit(3);
  }
});
]]

describe("a response that is broken off after its head", function()
  local s

  setup(function()
    s = server.start({ script = SCRIPT, files = { ["client.py"] = PYTHON, ["client.js"] = NODE } })
  end)
  teardown(function() s:stop() end)

  local function get(path, version)
    return raw.request(s.port, ("GET %s HTTP/%s\r\nHost: x\r\n\r\n"):format(path, version or "1.1"), 20)
  end

  local function run(argv)
    local process <close> = assert(harness.spawn(argv, { stdout = "pipe", stderr = "pipe", env = { LD_PRELOAD = false } }))
    local exit = process:wait(60)
    return exit, process:output("stdout") .. process:output("stderr")
  end

  for _, body in ipairs({ "function", "generator", "coroutine", "sequence", "leaf", "element", "writes_itself",
    "unprintable", "waits", "task", "by-hand", "by-hand-leave", "much", not server.threads_sanitized and "spins" or nil }) do
    it(("has no last chunk, or is reset where it has no framing: %s (B33, B40)"):format(body), function()
      local chunked = get("/" .. body)
      assert.equal("chunked", chunked.framing)
      assert.is_false(chunked.complete)
      assert.is_true(#chunked.body >= 1000, "what was written before")
      assert.equal("closed", chunked.error)
      local old = get("/" .. body, "1.0")
      assert.equal("close", old.framing)
      assert.same({ false, "reset" }, { old.complete, old.error })
    end)
  end

  it("is shorter than its Content-Length, never longer (B33, B34)", function()
    for path, bytes in pairs({ ["/length"] = 1000, ["/short"] = 1000, ["/long"] = 1000 }) do
      for _, version in ipairs({ "1.1", "1.0" }) do
        local cut = get(path, version)
        assert.same({ false, bytes }, { cut.complete, #cut.body }, path)
      end
    end
  end)

  describe("is told apart from a whole one", function()
    it("by curl", function()
      for _, path in ipairs({ "/function", "/generator", "/by-hand", "/much", "/length", "/short" }) do
        assert.equal(18, curl.run({ "-o", "/dev/null", s.url .. path }).exit, path)
      end
      for _, path in ipairs({ "/function", "/generator", "/by-hand", "/much" }) do
        assert.equal(56, curl.run({ "-0", "-o", "/dev/null", s.url .. path }).exit, path)
      end
    end)

    it("by Python's http.client", function()
      local function python(path, version)
        local exit, said = run({ "python3", s.dir .. "/client.py", tostring(s.port), path, version })
        return { exit, said }
      end
      for _, path in ipairs({ "/function", "/by-hand", "/length" }) do
        assert.same({ 3, "IncompleteRead\n" }, python(path, "1.1"), path)
      end
      for _, path in ipairs({ "/function", "/by-hand" }) do
        assert.same({ 3, "ConnectionResetError\n" }, python(path, "1.0"), path)
      end
    end)

    it("by node's fetch", function()
      for _, path in ipairs({ "/function", "/generator", "/by-hand", "/length" }) do
        local exit, said = run({ "node", s.dir .. "/client.js", s.url .. path })
        assert.same({ 3, "TypeError: terminated\n" }, { exit, said }, path)
      end
    end)
  end)
end)
