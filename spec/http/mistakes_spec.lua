-- What scripts get wrong: each mistake is told of with its place and with what was expected.
local raw = require("raw")
local server = require("server")

-- name, what the handler does, what the line in the log says.
local HANDLERS = {
  { "returns nothing", "", "no response: nobody has returned one, or set ctx.response" },
  { "returns a text", 'return "hello"', "a response is a table, this is a string" },
  { "returns neither status nor body", 'return { ["content"] = "x" }', "has a status or a body, this has neither" },
  { "misspells status", 'return { satus = 201, body = "x" }', 'no "satus", did you mean "status"?' },
  { "misspells headers", 'return { header = { a = "b" }, body = "x" }', 'no "header", did you mean "headers"?' },
  { "writes body with a capital", 'return { status = 200, Body = "x" }', 'no "Body", did you mean "body"?' },
  { "swaps letters", 'return { status = 200, boyd = "x" }', 'no "boyd", did you mean "body"?' },
  { "has a text as a status", 'return { status = "200" }', "an integer in 200..999, this is a string" },
  { "swaps arguments", "return tg.response(201, {})", "an integer in 200..999, this is a table" },
  { "redirects nowhere", "return (tg.redirect(request.query.to))", "SCRIPT:%d+: tg.redirect: expected a URL, got nil" },
  { "gives tg.error no status", 'tg.error("oops")', 'an integer in 400..599, got "oops"' },
  { "returns nil and why", 'return io.open("/nowhere/at/all")', "nil and: /nowhere/at/all: No such file" },
  { "raises a table", 'error({ code = 7, why = "full", more = {} })', "a table was raised: .*code = 7" },
  { "raises a table with a text", 'error({ why = "full" })', 'a table was raised: why = "full"' },
  { "has a response for its context", "ctx:enqueue({ enter = function() return { status = 200 } end })",
    "expected nothing or the context %(a response goes to ctx.response%)" },
  { "misspells an option", 'return tg.fetch("http://127.0.0.1:1/", { header = {} })', 'SCRIPT:%d+: .*unknown option "header"' },
  { "misspells an option of a handler", "return (tg.limit({ rat = 5 }))", 'SCRIPT:%d+: .*unknown option "rat"; there are' },
  { "misspells an option of a store", 'tg.shared("x", { byte = 5 })', "SCRIPT:%d+: tg.shared: unknown option byte; there are bytes" },
  { "misspells an option of a table", 'return { body = tg.csv({}, { column = {} }) }', "unknown option column; there are columns," },
  { "gives tg.timeout no function", 'tg.timeout(1, request.query.f)', "SCRIPT:%d+: tg.timeout: expected a function after" },
  { "gives tg.timeout no time", 'tg.timeout(print)', "SCRIPT:%d+: tg.timeout: expected seconds" },
  { "has two types", 'return { headers = { ["content-type"] = "a/b", ["Content-Type"] = "c/d" }, body = "x" }',
    "a response has one Content%-Type, this has" },
  { "returns the request", "return { body = request }", "a tidegate.Request cannot be streamed as a body" },
  { "returns a task", "return { body = tg.spawn(print) }", "a tidegate.Task cannot be streamed as a body" },
  { "has a proxy without a scheme", 'return (tg.proxy("localhost:80"))', "SCRIPT:%d+: tg.proxy: expected the URL" },
  { "breaks a header's line", 'return { headers = { a = "b\\r\\nc: d" }, body = "x" }', "the value of header a holds a line break" },
  { "has a boolean header", 'return { headers = { a = true }, body = "x" }', "header a is a boolean" },
}

local function script()
  local lines = { 'local tg = require("tidegate")', "return { limits = { head_bytes = 8000 }, routes = {" }
  for n, case in ipairs(HANDLERS) do
    lines[#lines + 1] = ('{ "/%d", get = function(request, ctx) %s end },'):format(n, case[2])
  end
  lines[#lines + 1] = [[
    { "/fetch", get = function() return tg.fetch("http://127.0.0.1:1/") end },
    { "/extra", get = function() return { status = 200, heading = 1, bodies = 2, state = 3, [1] = 4, body = "kept" } end },
    { "/keep", get = function() return { body = function(out) kept = out end } end },
    { "/kept", get = function() kept:write("x") end },
    { "/shape", get = function() return 5 end },
  } }]]
  return table.concat(lines, "\n")
end

describe("a mistake in a script", function()
  local s

  setup(function() s = server.start({ script = script() }) end)
  teardown(function() s:stop() end)

  for n, case in ipairs(HANDLERS) do
    it("is told of in the log: a handler that " .. case[1], function()
      local response = raw.get(s.port, "/" .. n)
      assert.equal(500, response.status)
      assert.equal("Internal Server Error\n", response.body)
      local line = s:wait_log("GET /" .. n .. ": unhandled", 5)
      assert.matches((case[3]:gsub("SCRIPT", "%%.lua")), line)
      assert.is_nil(line:find("of the chain", 1, true))
    end)
  end

  it("has the status of the failure that a handler has returned (B74)", function()
    assert.equal(502, raw.get(s.port, "/fetch").status)
    assert.matches("Failed to connect", s:wait_log("GET /fetch: unhandled", 5))
  end)

  it("is none where a response has keys of the script's own", function()
    assert.equal("kept", raw.get(s.port, "/extra").body)
  end)

  it("says what tg.closed is where it is no client that has left", function()
    raw.get(s.port, "/keep")
    assert.equal(500, raw.get(s.port, "/kept").status)
    assert.matches("tg.closed was raised: the client has gone, or the response is over",
      s:wait_log("GET /kept: unhandled", 5), 1, true)
  end)

  it("has no traceback where nothing of the script was running", function()
    raw.get(s.port, "/shape")
    assert.is_nil(s:wait_log("GET /shape: unhandled", 5):find("traceback", 1, true))
  end)
end)

describe("a script with a mistake", function()
  local dir

  setup(function() dir = server.folder() end)
  teardown(function() server.remove_folder(dir) end)

  for what, case in pairs({
    ["returns false from check"] = {
      'return { routes = {}, check = function() return false, "no database" end }', "^tidegate: check: no database\n$" },
    ["raises a table in check"] = {
      "return { routes = {}, check = function() error({ code = 9 }) end }", "check: %(a table was raised: code = 9%)" },
    ["raises a table"] = { "error({ code = 9 })", "%(a table was raised: code = 9%)" },
    ["has a handler that is nil"] = {
      'return { routes = { { "/a", get = misspelt } } }', 'routes%[1%] "/a": no method, and no route nested in it' },
  }) do
    it("does not load when it " .. what, function()
      server.write(dir .. "/app.lua", case[1])
      local result = server.command({ "check", "app.lua" }, { cwd = dir })
      assert.equal(1, result.exit)
      assert.matches(case[2], result.stderr)
    end)
  end
end)
