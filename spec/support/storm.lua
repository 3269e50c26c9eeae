-- storm.lua - clients in every state of mind, many at a time, drawn from a seed.
--
-- A client is a list of steps: pieces to send, reading up to a number of bytes, pauses, and a way to leave.
local harness = require("harness")
local raw = require("raw")

local PATIENCE = 800 -- ms, of a client that reads to the end

local PATHS = { "any", "any", "any", "any", "wild", "wild", "compressed", "both", "params", "sse", "poll" }
local PROXIED = { "ok", "short", "reset", "never", "bad-chunk", "large", "no-end", "early", "trickle", "upgrade" }
local METHODS = { "GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE" }

local FIELDS = {
  "Accept-Encoding: gzip\r\n", "Accept-Encoding: br, zstd;q=0.5\r\n", "Range: bytes=0-99\r\n",
  "Range: bytes=5-9, 20-30, -5\r\n", "If-None-Match: *\r\n", "If-Match: \"x\"\r\n", "Accept: text/csv\r\n",
  "Accept: application/x-ndjson\r\n", "Last-Event-ID: 0\r\n", "Connection: close\r\n",
  "If-Modified-Since: Tue, 01 Jan 2030 00:00:00 GMT\r\n",
}

local function one_of(list) return list[math.random(#list)] end

local function multipart()
  local body = {}
  for i = 1, math.random(3) do
    body[i] = ('--b\r\nContent-Disposition: form-data; name="n%d"\r\n\r\n%s\r\n'):format(i, ("m"):rep(math.random(20000)))
  end
  return table.concat(body) .. "--b--\r\n", "Content-Type: multipart/form-data; boundary=b\r\n"
end

local BODIES = {
  function() return ("b"):rep(math.random(100)), "" end,
  function() return ("B"):rep(math.random(150000)), "" end,
  function() return '{"a":[1,2]}', "Content-Type: application/json\r\n" end,
  function() return "a=1&b=2", "Content-Type: application/x-www-form-urlencoded\r\n" end,
  multipart, multipart,
}

-- The head and the body of one request.
local function request()
  local path = one_of(PATHS)
  local method = one_of(METHODS)
  if math.random(10) == 1 then path = "proxy/" .. one_of(PROXIED) end
  if math.random(12) == 1 then path, method = "publish", "POST" end
  local version = math.random(12) == 1 and "1.0" or "1.1"
  local fields, body = "", ""
  for _ = 1, math.random(3) - 1 do fields = fields .. one_of(FIELDS) end
  if method == "POST" or method == "PUT" then
    local type
    body, type = one_of(BODIES)()
    fields = fields .. type
    if math.random(5) == 1 and version == "1.1" then fields = fields .. "Expect: 100-continue\r\n" end
    if math.random(3) == 1 and version == "1.1" then
      local half = #body // 2
      fields = fields .. "Transfer-Encoding: chunked\r\n"
      body = ("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"):format(half > 0 and half or 1, half > 0 and body:sub(1, half) or "x",
        #body - half, body:sub(half + 1))
    else
      fields = fields .. ("Content-Length: %d\r\n"):format(#body)
    end
  end
  return ("%s /%s?seed=%d HTTP/%s\r\nHost: x\r\n%s\r\n"):format(method, path, math.random(1 << 30), version, fields), body
end

-- Cut at any place.
local function add_pieces(steps, text)
  local cuts = math.random(3) == 1 and math.random(3) or 0
  local from = 1
  for _ = 1, cuts do
    local to = math.random(from, #text)
    steps[#steps + 1] = { "send", text:sub(from, to) }
    steps[#steps + 1] = { "pause", math.random(5) }
    from = to + 1
    if from > #text then return end
  end
  steps[#steps + 1] = { "send", text:sub(from) }
end

local LEAVES = {
  function() return { "reset" } end,
  function() return { "close" } end,
  function() return { "half" }, { "drain" } end,
  function() return { "drain" } end,
  function() return { "read", math.random(300) }, { "reset" } end,
  function() return { "read", math.random(200000) }, { "reset" } end,
  function() return { "read", math.random(200000) }, { "close" } end,
  function() return { "pause", math.random(30) }, { "reset" } end,
  function() return { "pause", math.random(30) }, { "close" } end,
  function() return { "read", 50 }, { "pause", 500 }, { "drain" } end,
}

local function new_steps()
  local steps = {}
  for _ = 1, one_of({ 1, 1, 1, 2, 4 }) do
    local head, body = request()
    add_pieces(steps, head .. body)
    if math.random(6) == 1 then -- leaves within what it sends
      local last = steps[#steps]
      if last[1] == "send" then last[2] = last[2]:sub(1, math.random(#last[2])) end
      break
    end
  end
  local way = table.pack(one_of(LEAVES)())
  for i = 1, way.n do steps[#steps + 1] = way[i] end
  return steps
end

-- One step of a client, or a part of it: "over" when that was the last, "idle" when there is nothing to do yet.
local STEPS = {}

function STEPS.send(client, step, _)
  local sent, why = client.socket:send_some(step[2], client.sent + 1)
  if not sent then
    if client.socket:recv(65536, 0) then return "again" end -- who does not read may not be read
    if why == "again" then return "idle" end
    return "over"
  end
  client.sent = client.sent + sent
  return client.sent >= #step[2] and "next" or "again"
end

function STEPS.read(client, step)
  local bytes, why = client.socket:recv(math.min(step[2], 16384), 0)
  if not bytes then return why == "timeout" and "idle" or "over" end
  client.got = client.got + #bytes
  return client.got >= step[2] and "next" or "again"
end

function STEPS.pause(client, step, now)
  client.until_ms = client.until_ms or now + step[2]
  return now >= client.until_ms and "next" or "idle"
end

function STEPS.drain(client)
  local bytes, why = client.socket:recv(65536, 0)
  if bytes then return "again" end
  return why == "timeout" and "idle" or "over"
end

function STEPS.reset(client)
  client.socket:reset()
  return "over"
end

function STEPS.close() return "over" end

function STEPS.half(client)
  client.socket:shutdown_write()
  return "next"
end

local function go_on(client, now)
  local step = client.steps[client.at]
  if not step or now > client.deadline then return "over" end
  local what = STEPS[step[1]](client, step, now)
  if what == "next" then
    client.at, client.sent, client.got, client.until_ms = client.at + 1, 0, 0, nil
    return "again"
  end
  return what
end

local storm = {}

--- So many clients against the port, `at_once` at the same time; each(i) is called before each.
function storm.blow(port, clients, at_once, each)
  local active, begun = {}, 0
  local options = { rcvbuf = 8192 }
  while begun < clients or #active > 0 do
    while begun < clients and #active < at_once do
      begun = begun + 1
      if each then each(begun) end
      local client = raw.connect(port, math.random(4) == 1 and options or nil)
      if client then
        active[#active + 1] = { socket = client.socket, steps = new_steps(), at = 1, sent = 0, got = 0,
          deadline = harness.now() + (math.random(3) == 1 and 100 or PATIENCE) }
      end
    end
    local now, busy = harness.now(), false
    for i = #active, 1, -1 do
      local what = go_on(active[i], now)
      busy = busy or what ~= "idle"
      if what == "over" then
        active[i].socket:close()
        table.remove(active, i)
      end
    end
    if not busy then harness.sleep(0.001) end
  end
end

return storm
