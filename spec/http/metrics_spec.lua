-- tg.stats and tg.metrics: what the gateway does, in figures.
local exposition = require("exposition")
local raw = require("raw")
local server = require("server")
local upstream = require("upstream")

local SCRIPT = [[
local tg = require("tidegate")
return { routes = {
  { "/", get = function() return { body = "12345" } end },
  { "/fails", get = function() error("x") end },
  { "/cut", get = function() return { body = function(out) out:write("x") out:flush() error("x") end } end },
  { "/metrics", get = tg.metrics() },
} }
]]

describe("tg.metrics", function()
  it("counts every exchange once, by how it ended and what it was answered, over all workers (B81)", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2 })
    local function samples()
      local response = raw.get(s.port, "/metrics")
      assert.equal("text/plain; version=0.0.4; charset=utf-8", response.headers["content-type"][1])
      local all = {}
      for name, value in response.body:gmatch("\n([%w_]+[^%s]*) ([%d.e+-]+)") do all[name] = tonumber(value) end
      return all
    end
    for _ = 1, 20 do raw.get(s.port, "/") end
    for _ = 1, 3 do raw.get(s.port, "/fails") end
    raw.get(s.port, "/nowhere")
    for _ = 1, 2 do raw.get(s.port, "/cut") end
    local now
    server.eventually(function()
      now = samples()
      return now["tidegate_exchanges_open"] == 1
    end)
    local asked = now["tidegate_exchanges_total"] - 26
    assert.is_true(asked >= 1)
    assert.equal(20 + asked - 1 + 1, now['tidegate_exchanges_ended_total{ending="done"}'])
    assert.equal(5, now['tidegate_exchanges_ended_total{ending="error"}'])
    assert.equal(3, now['tidegate_responses_total{status="5xx"}'])
    assert.equal(1, now['tidegate_responses_total{status="4xx"}'])
    assert.equal(2, now["tidegate_workers"])
    assert.is_true(now["tidegate_body_bytes_total"] >= 100 and now["tidegate_heap_bytes"] >= 0)
    assert.is_true(now["tidegate_uptime_seconds"] > 0)
  end)

  it("is what Prometheus reads, whatever routes are called", function()
    local s <close> = server.start({ script = [[
      local tg = require("tidegate")
      return { routes = {
        { "/", name = 'a "quoted" \\ name\nof two lines', get = function() return { body = "x" } end },
        { "/latin", name = "caf\xe9", get = function() return { body = "x" } end },
        { "/café", get = function() return { body = "x" } end },
        { "/metrics", get = tg.metrics() },
      } }
    ]] })
    for _, target in ipairs({ "/", "/latin", "/caf%C3%A9", "/metrics" }) do raw.get(s.port, target) end
    local metrics = exposition.parse(raw.get(s.port, "/metrics").body)
    local function answered(route)
      return exposition.value(metrics, "tidegate_route_responses_total",
        { route = route, status = "200" })
    end
    assert.equal(1, answered('a "quoted" \\ name\nof two lines'))
    assert.equal(1, answered("caf?"))
    assert.equal(1, answered("GET /café"))
    assert.equal(1, answered("GET /metrics"))
    for name, metric in pairs(metrics) do
      assert.equal("tidegate_", name:sub(1, 9))
      assert.equal(metric.kind == "counter", name:sub(-6) == "_total", name)
    end
  end)

  it("is read by a parser that refuses what Prometheus would", function()
    local fine = "# HELP a b\n# TYPE a counter\na{x=\"y\"} 1\n"
    exposition.parse(fine)
    for _, text in ipairs({
      "a 1\n", "# TYPE a counter\na 1\n", "# HELP a b\na 1\n", fine .. 'a{x="y"} 2\n', fine .. fine,
      fine .. "b 1\n", fine .. 'a{x="\\q"} 1\n', fine .. 'a{x="z} 1\n', fine .. "a{x=z} 1\n",
      fine .. 'a{x="z"}\n', fine .. 'a{x="z"} one\n', fine .. 'a{x="z"} -1\n', fine .. 'a{x="z"} 1',
      fine .. 'a{x="z" y="z"} 1\n', fine .. 'a{x="z",x="z"} 1\n', fine .. "\n",
      "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
      "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
    }) do
      assert.is_false(pcall(exposition.parse, text), text)
    end
  end)
end)

describe("The figures of tg.metrics", function()
  local s, up
  setup(function()
    up = upstream.listen()
    s = server.start({ workers = 1, script = ([[
      local tg = require("tidegate")
      return { limits = { lua_memory = 2^26 }, routes = {
        { "/metrics", get = tg.metrics() },
        { "/status/:status", get = function(request)
          return { status = math.tointeger(request.path_params.status), body = "12345" }
        end },
        { "/waits", get = function() for _ = 1, 10 do tg.sleep(0.001) end return { body = "" } end },
        { "/streams", get = function() return { body = function(out)
          out:write("x") out:flush() tg.sleep(60)
        end } end },
        { "/topic", get = function() return { body = tg.topic("t") } end },
        { "/fetch", get = function() return assert(tg.fetch("http://127.0.0.1:%d/")) end },
        { "/refused", get = function()
          return { body = tostring(tg.fetch("http://127.0.0.1:1/")) }
        end },
        { "/hog", get = function()
          local until_then = tg.now() + 0.4
          while tg.now() < until_then do end
          return { body = "" }
        end },
        { "/keep", get = function() kept = ("x"):rep(2^24) return { body = "" } end },
      } }
    ]]):format(up.port), args = { "--limit", "slice=0" } })
  end)
  teardown(function()
    s:stop()
    up:close()
  end)

  local function scrape() return exposition.parse(raw.get(s.port, "/metrics").body) end
  local function value(name, labels) return exposition.value(scrape(), "tidegate_" .. name, labels) end
  local function becomes(wanted, name, labels)
    server.eventually(function() return value(name, labels) == wanted end)
  end

  it("are by route and status, and statuses beyond fifteen are one", function()
    for status = 200, 219 do
      if status ~= 204 and status ~= 205 then raw.get(s.port, "/status/" .. status) end
    end
    raw.get(s.port, "/status/200")
    local route = "GET /status/:status"
    becomes(2, "route_responses_total", { route = route, status = "200" })
    becomes(1, "route_responses_total", { route = route, status = "216" })
    becomes(3, "route_responses_total", { route = route, status = "other" })
    assert.is_nil(value("route_responses_total", { route = route, status = "217" }))
    assert.equal(95, value("route_body_bytes_total", { route = route }))
    assert.is_true(value("route_seconds_total", { route = route }) > 0)
  end)

  it("have what no route was asked for, and heads that were refused", function()
    raw.get(s.port, "/nowhere")
    raw.request(s.port, "NONSENSE\r\n\r\n")
    becomes(1, "route_responses_total", { route = "(no route)", status = "404" })
    becomes(1, "route_responses_total", { route = "(refused)", status = "400" })
  end)

  it("count on when the script is loaded anew, and say how often that was", function()
    raw.get(s.port, "/waits")
    becomes(1, "route_responses_total", { route = "GET /waits", status = "200" })
    local text = server.read(s.script)
    server.write(s.script, "return {")
    s:kill("HUP")
    becomes(1, "reloads_total", { result = "failed" })
    server.write(s.script, text)
    s:kill("HUP")
    becomes(1, "reloads_total", { result = "done" })
    raw.get(s.port, "/waits")
    becomes(2, "route_responses_total", { route = "GET /waits", status = "200" })
    assert.equal(2, value("generation"))
  end)

  it("count waits, and know the streams that are open", function()
    local before = value("waits_total", { worker = "1" })
    raw.get(s.port, "/waits")
    becomes(before + 10, "waits_total", { worker = "1" })
    do
      local a <close> = assert(raw.connect(s.port))
      local b <close> = assert(raw.connect(s.port))
      a:send("GET /streams HTTP/1.1\r\nHost: x\r\n\r\n")
      b:send("GET /topic HTTP/1.1\r\nHost: x\r\n\r\n")
      becomes(2, "streams_open")
      becomes(1, "topic_subscribers")
    end
    becomes(0, "streams_open")
    becomes(1, "route_responses_total", { route = "GET /topic", status = "200" })
  end)

  it("show a loop that was late", function()
    local function seen()
      local metrics = scrape()
      return exposition.value(metrics, "tidegate_loop_lag_seconds_count", { worker = "1" })
        - exposition.value(metrics, "tidegate_loop_lag_seconds_bucket", { worker = "1", le = "0.1" })
    end
    local before = seen()
    raw.get(s.port, "/hog")
    server.eventually(function() return seen() > before end)
    assert.is_true(value("loop_lag_seconds_sum", { worker = "1" }) > 0.1)
  end)

  it("show the memory of the worker's Lua states", function()
    local before = value("lua_bytes", { worker = "1" })
    raw.get(s.port, "/keep")
    server.eventually(function() return value("lua_bytes", { worker = "1" }) > before + 2^24 end)
  end)

  it("count requests to other servers, and how they failed", function()
    local client <close> = assert(raw.connect(s.port))
    client:send("GET /fetch HTTP/1.1\r\nHost: x\r\n\r\n")
    local c <close> = up:accept()
    c:read_request()
    assert.equal(1, value("upstream_requests_open"))
    assert.equal(1, value("upstream_connections"))
    c:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert.equal("hi", client:read_response().body)
    becomes(0, "upstream_requests_open")
    raw.get(s.port, "/refused")
    becomes(1, "upstream_failures_total", { kind = "connect" })
    assert.equal(2, value("upstream_requests_total"))
  end)
end)

describe("tg.route_stats", function()
  it("has a thousand names at most", function()
    local s <close> = server.start({ script = [[
      local tg = require("tidegate")
      local routes = { { "/names", get = function()
        local names, others = 0, tg.route_stats()["(others)"]
        for _ in pairs(tg.route_stats()) do names = names + 1 end
        return { body = ("%d %d\n"):format(names, others and others.answers["200"] or 0) }
      end } }
      for i = 1, 1100 do
        routes[#routes + 1] = { "/" .. i, get = function() return { body = "x" } end }
      end
      return { routes = routes }
    ]] })
    local client <close> = assert(raw.connect(s.port))
    for i = 1, 1100 do
      client:send(("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i))
      assert.equal("x", client:read_response().body)
    end
    local names, others = raw.get(s.port, "/names").body:match("^(%d+) (%d+)")
    assert.is_true(tonumber(names) <= 1001 and tonumber(names) > 900)
    assert.is_true(tonumber(others) >= 100 and tonumber(names) - 1 + tonumber(others) >= 1100)
  end)
end)
