-- ctx:write_response and its kin: a response sent by hand, while the chain goes on.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local function head(extra)
  local response = { status = 201, headers = { ["Content-Type"] = "text/plain", ["X-A"] = "1" } }
  for key, value in pairs(extra or {}) do response[key] = value end
  return response
end
local cookie = { name = "cookie", leave = function(ctx)
  if ctx.response then
    ctx.response.headers = { ["Set-Cookie"] = "late=1" }
  else
    ctx.left = true
  end
end }
local noted, kept = {}, nil
local function notes(ok, why) noted[#noted + 1] = tostring(ok) .. " " .. tostring(why) end
local function by_hand(ctx, text)
  tg.sleep(0.001)
  ctx:write_response(head({ body = text:sub(1, 1) }))
  tg.sleep(0.001)
  ctx:write_response_body(text:sub(2))
  ctx:flush()
  assert(ctx:response_sent())
end
return { limits = { response_timeout = 0.5 }, routes = {
  { "/head", get = function(_, ctx) ctx:write_response(head()) tg.sleep(0.3) ctx:write_response_body("later") end },
  { "/parts", get = { cookie, function(_, ctx)
    ctx:write_response(head({ body = "a" }))
    ctx:write_response_body("b")
    ctx:write_response_body({ c = 1 })
    ctx:write_response_body(tg.generate(function(yield) yield(1) tg.sleep(0.01) yield(2) end))
    ctx:write_response_body(function(out) out:write("d") tg.sleep(0.01) out:write("e") end)
    ctx:write_response_body(tg.file("Makefile"))
    ctx:write_response_body("end")
  end } },
  { "/sent", get = function(_, ctx)
    local before = ctx:response_sent()
    ctx:write_response_body("x")
    ctx:write_response_body(tostring(before) .. tostring(ctx:response_sent()))
  end },
  { "/both", name = "both", get = { cookie, function(_, ctx)
    ctx:write_response(head({ body = "first" }))
    return { status = 404, body = "second" }
  end } },
  { "/twice", get = function(_, ctx)
    ctx:write_response(head({ body = "first" }))
    local ok, why = pcall(ctx.write_response, ctx, head())
    ctx:write_response_body(tostring(ok) .. why)
  end },
  { "/raise", get = function(_, ctx) ctx:write_response(head({ body = "first" })) error("after", 0) end },
  { "/enter", get = { { name = "early", enter = function(ctx) ctx:write_response(head({ body = "early" })) end },
    function() end } },
  { "/after", get = function() return { body = "kept" } end },

  -- From each stage, and from what runs beside them:
  { "/leave", get = { { name = "late", leave = function(ctx) by_hand(ctx, "leave") end }, cookie,
    function(_, ctx) ctx.silent = true end } },
  { "/error", get = { { name = "saves", error = function(ctx, err) by_hand(ctx, err.message) end }, cookie,
    function() error("error", 0) end } },
  { "/leave-error", get = { { name = "saves", error = function(ctx, err) by_hand(ctx, err.message) end },
    { name = "fails", leave = function() error("leave-error", 0) end }, function() return { body = "x" } end } },
  { "/body-error", get = { { name = "saves", error = function(ctx, err) by_hand(ctx, err.message) end },
    function() return { body = function() error("body-error", 0) end } end } },
  { "/task", get = function(_, ctx) tg.spawn(by_hand, ctx, "task"):join() end },
  { "/tasks", get = function(_, ctx)
    ctx:write_response(head())
    tg.all({ function() tg.sleep(0.02) ctx:write_response_body("b") end, function() ctx:write_response_body("a") end })
    tg.spawn(function() ctx:write_response_body("c") end):join()
  end },
  { "/coroutine", get = function(_, ctx)
    for step in coroutine.wrap(function() by_hand(ctx, "coroutine") coroutine.yield(1) end) do assert(step == 1) end
  end },
  { "/enqueued", get = { { name = "e", enter = function(ctx)
    ctx:enqueue(function(_, c) by_hand(c, "enqueued") end)
  end }, function() end } },
  { "/predicate", get = { { name = "p", enter = function(ctx)
    ctx:terminate_when(function(c) by_hand(c, "predicate") return true end)
  end }, function() error("does not enter", 0) end } },
  { "/in-a-body", get = function(_, ctx)
    ctx:write_response(head({ body = function(out)
      out:write("in-")
      ctx:write_response_body({ "a" })
      out:write("-body")
    end }))
  end },
  { "/body-begins", get = function()
    return { status = 201, headers = { ["X-A"] = "1", ["Content-Type"] = "text/plain" }, body = function(_, ctx)
      ctx:write_response_body("body-begins")
      assert(not pcall(ctx.write_response, ctx, head()))
    end }
  end },

  { "/no-status", get = function(_, ctx)
    ctx:write_response({ headers = { ["Content-Type"] = "text/plain" } })
    ctx:write_response_body("no-status")
  end },
  { "/refused", get = function(_, ctx)
    notes(pcall(ctx.write_response, ctx, { status = 99 }))
    notes(pcall(ctx.write_response, ctx, { status = 204, headers = { ["X Y"] = "1" } }))
    notes(pcall(ctx.write_response, ctx, { headers = { ["X-Refused"] = "1" }, body = true }))
    notes(pcall(ctx.write_response_body, ctx, true))
    assert(not ctx:response_sent())
    ctx:write_response_body("refused")
  end },
  { "/no-content", get = function(_, ctx)
    ctx:write_response({ status = 204 })
    notes(pcall(ctx.write_response_body, ctx, "x"))
  end },
  { "/closed", get = function(_, ctx)
    ctx:write_response(head({ body = function(out) out:write("closed") out:close() end }))
    notes(pcall(ctx.write_response_body, ctx, "x"))
  end },
  { "/excess", get = function(_, ctx)
    ctx:write_response({ headers = { ["Content-Length"] = 3 }, body = "ab" })
    ctx:write_response_body("c")
    notes(pcall(ctx.write_response_body, ctx, "d"))
  end },
  { "/too-short", get = function(_, ctx)
    ctx:write_response({ headers = { ["Content-Length"] = 3 }, body = "ab" })
  end },
  { "/failed-part", get = function(_, ctx)
    ctx:write_response(head({ body = "a" }))
    notes(pcall(ctx.write_response_body, ctx, function(out) out:write("b") error("in a part", 0) end))
    ctx:write_response_body("c")
  end },
  { "/keep", get = function(_, ctx) kept = ctx return { body = "x" } end },
  { "/kept", get = function()
    for _, name in ipairs({ "write_response", "write_response_body", "flush" }) do notes(pcall(kept[name], kept, {})) end
    return { body = tostring(kept:response_sent()) }
  end },
  { "/on-close", get = function(_, ctx)
    ctx:on_close(function() notes(pcall(ctx.write_response_body, ctx, "x")) end)
    return { body = "x" }
  end },
  { "/drops", get = { { name = "d", leave = function(ctx) ctx:write_response_body("by hand") end },
    function() return { body = io.open("Makefile") } end } },
  { "/silent", get = function(_, ctx) ctx:flush() return { body = tostring(ctx:response_sent()) } end },
  { "/notes", get = function()
    local text = table.concat(noted, "\n")
    noted = {}
    return { body = text }
  end },
} }
]]

describe("a response written by hand", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(path)
    local c <close> = assert(raw.connect(s.port))
    c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n")
    local response = assert(c:read_response())
    if response.complete then assert.equal("kept", c:read_response().body) end
    return response
  end

  it("has its head on the wire at once (B36)", timed(function()
    local c <close> = assert(raw.connect(s.port))
    local start = harness.now()
    c:send("GET /head HTTP/1.1\r\nHost: a\r\n\r\n")
    local head = c:read_head()
    assert.is_true(harness.now() - start < 200)
    assert.equal(201, head.status)
    assert.equal("later", c:read_chunk(head))
  end))

  it("is the parts in their order, of any type (B37)", function()
    local file <close> = io.open("Makefile")
    local response = get("/parts")
    assert.is_true(response.body == 'ab{"c":1}\n1\n2\nde' .. file:read("a") .. "end")
    assert.equal("1", response.headers["x-a"][1])
    assert.is_nil(response.headers["set-cookie"])
  end)

  it("is sent once something is, an implicit 200 (B38)", function()
    local response = get("/sent")
    assert.equal(200, response.status)
    assert.equal("xfalsetrue", response.body)
  end)

  it("stands against a ctx.response that comes after, which is logged once (B39)", function()
    local response = get("/both")
    assert.equal(201, response.status)
    assert.equal("first", response.body)
    assert.is_nil(response.headers["set-cookie"])
    assert.matches("both.*201.*404", (s:wait_log("response already sent", 2)))
  end)

  it("cannot be begun a second time (B40)", function()
    assert.matches("^firstfalse.*sent before", get("/twice").body)
  end)

  it("is cut by a raise that follows (B40)", function()
    local response = get("/raise")
    assert.equal("first", response.body)
    assert.is_false(response.complete)
  end)

  for _, stage in ipairs({ "leave", "error", "leave-error", "body-error", "task", "coroutine", "enqueued", "predicate",
    "body-begins" }) do
    it("may come from anywhere: " .. stage .. " (B36, B37)", function()
      local response = get("/" .. stage)
      assert.same({ 201, stage, true }, { response.status, response.body, response.complete })
      assert.equal("1", response.headers["x-a"][1])
      assert.is_nil(response.headers["set-cookie"])
    end)
  end

  it("may come from tasks, part by part, and from inside a part (B37)", function()
    assert.equal("abc", get("/tasks").body)
    assert.equal("in-a\n-body", get("/in-a-body").body)
  end)

  it("is a 200 when it says no status (B36)", function()
    local response = get("/no-status")
    assert.same({ 200, "no-status" }, { response.status, response.body })
    assert.equal("text/plain", response.headers["content-type"][1])
  end)

  local function notes() return raw.get(s.port, "/notes").body end

  it("is not begun by a call that is refused (B36)", function()
    local response = get("/refused")
    assert.same({ 200, "refused" }, { response.status, response.body })
    assert.is_nil(response.headers["x-refused"])
    assert.equal("false the status of a response is an integer in 200..999, this is 99\n"
      .. "false a header's name is no token: X Y\nfalse a boolean cannot be streamed as a body\n"
      .. "false a boolean cannot be streamed as a body", notes())
  end)

  it("takes no part after its end", function()
    local over = "false the response has ended: it has no more parts"
    assert.same({ 204, "" }, { get("/no-content").status, get("/no-content").body })
    assert.equal(over .. "\n" .. over, notes())
    assert.equal("closed", get("/closed").body)
    assert.equal(over, notes())
  end)

  it("has the length that it says, or is broken off (B34)", function()
    local c <close> = assert(raw.connect(s.port))
    c:send("GET /excess HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal("abc", c:read_response().body)
    assert.equal("", (c:read_all(5)))
    assert.matches("^false the body does not have the length", notes())
    s:wait_log("/excess: aborted after 3 bytes.*longer than its Content%-Length")
    local cut = get("/too-short")
    assert.same({ false, "ab" }, { cut.complete, cut.body })
    s:wait_log("/too%-short: aborted after 2 bytes.*shorter than its Content%-Length")
  end)

  it("goes on after a part whose failure the script has caught", function()
    local response = get("/failed-part")
    assert.same({ true, "abc" }, { response.complete, response.body })
    assert.equal("false in a part", notes())
  end)

  it("cannot be written once the exchange is over", function()
    get("/keep")
    assert.equal("true", get("/kept").body)
    assert.equal(("false the exchange is over\n"):rep(3):sub(1, -2), notes())
    get("/on-close")
    assert.matches("^false only the exchange's own tasks", notes())
  end)

  it("lets go of a body that is not sent, and logs both statuses (B39, B24)", function()
    local before = s:fds()
    for _ = 1, 20 do assert.equal("by hand", get("/drops").body) end
    server.eventually(function() return s:fds() <= before end)
    s:wait_log("/drops: response already sent: 200 was, 200 is dropped")
  end)

  it("is not begun by a flush of nothing (B38)", function()
    assert.equal("false", get("/silent").body)
  end)

  it("has no body for HEAD, whatever is written (B29)", function()
    for _, path in ipairs({ "/parts", "/leave", "/error", "/task", "/no-status" }) do
      local c <close> = assert(raw.connect(s.port))
      c:send("HEAD " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.is_true(c:read_response(5, { head = true }).status < 300, path)
      assert.equal("kept", c:read_response().body)
    end
  end)

  it("may end the exchange, without a ctx.response (B41)", function()
    assert.equal("early", get("/enter").body)
  end)
end)
