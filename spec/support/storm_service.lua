-- storm_service.lua - a service whose every request is another combination of what tidegate has: ?seed= says which.
--
-- What an exchange does is drawn from its seed, part by part: a body that is a filter of a table with a fetch in it, made
-- by a task in a timeout, with a <close> variable that waits. Nothing here is meant to be sensible.
local core = require("tidegate.core")
local tg = require("tidegate")

local DEPTH = 4 -- of bodies in bodies, and of actions in actions
local KEPT = 24 -- things that are kept past their exchange, and used by another

local count = { guards = 0, exchanges = 0, twice = 0, rooms = 0 }
local kept, kept_at = {}, 0
local wire_port

-- An integer from 1 to n, from a sequence of its own: what other exchanges do changes nothing.
local function sequence(seed)
  local state = seed * 2862933555777941757 + 3037000493
  return function(n)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % n + 1
  end
end

local function branch(r) return sequence(r(1 << 30)) end
local function one_of(r, list) return list[r(#list)] end

local function keep(value)
  kept_at = kept_at % KEPT + 1
  kept[kept_at] = value
  return value
end

local function nothing() end
local function forever(env) tg.wait(function(resume) keep(resume) end, env.bounded and 0.02 or nil) end
local function short_wait(r) tg.sleep(one_of(r, { 0, 0, 0.001, 0.005 })) end

local body_of, act -- below

-- --- What ends with a scope --------------------------------------------------------------------------

local CLOSES = {
  nothing, nothing, nothing,
  function(r) short_wait(r) end,
  function() error("raised in a close", 0) end,
  function(r, env) if env.out then env.out:write(("c"):rep(r(5000))) end end,
  function(r) tg.spawn(short_wait, r):join() end,
  function(_, env) forever(env) end,
  function() collectgarbage() end,
  function(r, env) act(r, env, DEPTH - 1) end,
  function() for _ = 1, 3 do pcall(tg.sleep, 0.001) end end,
}

local function guard(r, env)
  local closing, own = one_of(r, CLOSES), branch(r)
  count.guards = count.guards + 1
  local open = true
  return setmetatable({}, { __close = function()
    if not open then count.twice = count.twice + 1 end
    open = false
    count.guards = count.guards - 1
    closing(own, env)
  end })
end

-- --- Other servers -----------------------------------------------------------------------------------

local WIRE = {
  "ok", "ok", "empty", "short", "reset", "garbage", "never", "bad-chunk", "continue", "trickle", "large", "gzip",
  "at-once", "early", "until-close", "no-end", "not-modified", "upgrade", "head-in-parts", "extra",
}

local function url_of(r, env)
  local request = env.request
  if r(3) > 1 or env.nested then return ("http://127.0.0.1:%d/%s"):format(wire_port, one_of(r, WIRE)) end
  return ("%s://127.0.0.1:%d/any?nested=1&seed=%d"):format(request.scheme, request.port, r(1 << 30))
end

local function fetch_options(r, env, depth)
  local options = { insecure = true, timeout = one_of(r, { 0.05, 0.2, 1 }), idle_timeout = one_of(r, { 0.05, 1 }) }
  local kind = r(10)
  if kind == 1 then
    options.body = ("u"):rep(r(100000))
  elseif kind == 2 then
    options.body = env.request.body
  elseif kind == 3 then
    options.request = env.request
  elseif kind <= 5 then
    options.body = body_of(r, env, depth + 1)
  elseif kind == 6 then
    options.decode = true
  elseif kind == 7 then
    options.method = "HEAD"
  elseif kind == 8 then
    options.redirects = 2
  end
  return options
end

local function fetch(r, env, depth)
  local response, why = tg.fetch(url_of(r, env), fetch_options(r, env, depth))
  if not response then error({ status = 502, message = why }) end
  return r(6) == 1 and keep(response) or response
end

-- --- Bodies ------------------------------------------------------------------------------------------

local function iterator(r, env, depth)
  local left, own = r(6), branch(r)
  return function()
    left = left - 1
    if left < 0 then return nil end
    local kind = own(6)
    if kind == 1 then short_wait(own) end
    if kind == 2 then act(own, env, depth + 1) end
    return own(2) == 1 and left or { left, text = ("e"):rep(own(300)) }
  end
end

local function write_all(r, env, depth)
  return function(out, ctx)
    local inner = setmetatable({ out = out, ctx = ctx or env.ctx }, { __index = env })
    if r(5) == 1 then keep(out) end
    local _ <close> = guard(r, inner)
    for _ = 1, r(4) do act(r, inner, depth + 1) end
  end
end

local function is_form(env) return (env.request.headers["content-type"] or ""):find("^multipart") end

local BODIES = {
  function() return nil end,
  function(r) return ("s"):rep(r(2000)) end,
  function(r) return ("S"):rep(300000 + r(1000)) end,
  function(r, env, depth)
    local t, list = {}, r(2) == 1
    for i = 1, r(4) do t[list and i or "k" .. i] = body_of(r, env, depth + 1) or "nil" end
    return t
  end,
  function(r, env, depth) return tg.seq(iterator(r, env, depth)) end,
  function(r, env, depth) return tg.seq(coroutine.wrap(function()
    for i in iterator(r, env, depth) do coroutine.yield(i) end
  end)) end,
  function(r, env, depth) return tg.generate(function(yield)
    local _ <close> = guard(r, env)
    for i in iterator(r, env, depth) do yield(i) end
  end) end,
  function(r, env, depth) return coroutine.create(function()
    for i in iterator(r, env, depth) do coroutine.yield(i) end
  end) end,
  write_all, write_all, write_all,
  function(r) return tg.file("Makefile", { sendfile = r(2) == 1 }) end,
  function(r) return tg.file(one_of(r, { "core/lua/script.c", "/nowhere", "core" }), { sendfile = r(2) == 1 }) end,
  function() return io.open("Makefile") end,
  function(r) return io.popen(one_of(r, {
    "echo popen", "head -c 200000 /dev/zero", "cat /dev/zero", "sleep 0.02; echo late", "exit 3", "sleep 20",
  })) end,
  function(r, env, depth)
    local channel = tg.channel(r(3) - 1)
    local task = tg.spawn(function()
      local _ <close> = guard(r, env)
      for _ = 1, r(4) do
        act(r, env, depth + 1)
        channel:put(body_of(r, env, depth + 2) or "nil")
      end
      if r(3) > 1 then channel:close() end
    end)
    if r(2) == 1 then channel:producer(task) end
    return r(5) == 1 and keep(channel) or channel
  end,
  function(r, env, depth)
    local own = branch(r)
    return tg.map_body(body_of(r, env, depth + 1), function(chunk)
      if own(3) == 1 then act(own, env, depth + 1) end
      return own(4) > 1 and chunk or nil
    end, function()
      act(own, env, depth + 1)
      return "finished"
    end)
  end,
  function(r, env, depth)
    local own = branch(r)
    return tg.tee(body_of(r, env, depth + 1), own(2) == 1 and { write = function()
      if own(8) == 1 then return nil, "the sink is full" end
      short_wait(own)
      return true
    end } or function() if own(6) == 1 then act(own, env, depth + 1) end end)
  end,
  fetch, fetch, fetch,
  function(r, env, depth) return fetch(r, env, depth).body end,
  function(_, env) return env.request.body end,
  function(_, env)
    local parts = {}
    if not is_form(env) then return env.request.body end
    for part in tg.multipart(env.request) do
      parts[#parts + 1] = { name = part.name, bytes = #(part:read() or "") }
    end
    return parts
  end,
  function(_, env)
    if not is_form(env) then return env.request.body end
    local next_part, source = tg.multipart(env.request)
    return next_part(source)
  end,
  function(r) return tg.topic("room-" .. r(4)) end,
  function(r, env, depth) return tg.csv(tg.seq(iterator(r, env, depth)), { columns = { "text" } }) end,
  function(r, env, depth) return setmetatable({}, {
    __write_body = function(_, out) write_all(r, env, depth)(out) end,
    __content_type = "x/y",
  }) end,
  function(r, env, depth)
    local reader = tg.read_body(body_of(r, env, depth + 1))
    if r(3) == 1 then keep(reader) end
    return tg.seq(reader:chunks())
  end,
  function(r, env, depth)
    local reader = tg.read_body(body_of(r, env, depth + 1))
    local first = reader:read()
    reader:close()
    return first
  end,
  function() return kept[1 + kept_at % KEPT] end,
  function(r, env, depth) return keep(body_of(r, env, depth + 1)) end,
  function(r, env, depth)
    local body = body_of(r, env, depth + 1)
    return { body, body }
  end,
  function(r, env, depth) return tg.json.encode(body_of(r, env, depth + 1)) end,
}

function body_of(r, env, depth)
  if depth >= DEPTH then return ("d"):rep(r(100)) end
  return one_of(r, BODIES)(r, env, depth)
end

-- --- Actions -----------------------------------------------------------------------------------------

local function acts(r, env, depth)
  return function()
    local _ <close> = guard(r, env)
    for _ = 1, r(3) do act(r, env, depth + 1) end
    return "acted"
  end
end

local USES = { "read", "write", "flush", "close", "all", "chunks", "cancel", "join", "status", "get", "put", "send",
  "comment", "print", "try_put", "try_get", "items", "enqueue", "terminate", "on_close", "write_response",
  "write_response_body", "response_sent", "body", "spawn", "next", "bytes", "subscribe", "request" }

-- What comes of it is of no interest, but it ends soon.
local function use(r, value)
  if type(value) == "function" then return value(r(3)) end
  if type(value) ~= "userdata" and type(value) ~= "table" then return end
  local member = value[one_of(r, USES)]
  if type(member) == "function" then
    tg.timeout(0.01, member, value, one_of(r, { "x", 1, nothing, { body = "y" } }))
  end
end

local function coroutines(r, env, depth)
  local own = branch(r)
  local co = coroutine.create(acts(own, env, depth))
  local kind = r(4)
  if kind == 1 then
    tg.spawn(function()
      short_wait(own)
      coroutine.close(co)
    end)
    coroutine.resume(co)
  elseif kind == 2 then
    local task = tg.spawn(function() coroutine.resume(co) end)
    short_wait(r)
    pcall(coroutine.resume, co)
    task:cancel()
    coroutine.close(co)
  elseif kind == 3 then
    keep(coroutine.wrap(acts(own, env, depth)))
  else
    coroutine.wrap(acts(own, env, depth))()
  end
end

local function channels(r, env, depth)
  local a, b = tg.channel(r(2) - 1), tg.channel(r(3) - 1, { shared = r(2) == 1 })
  local group <close> = tg.group()
  group:spawn(function() for i = 1, r(5) do a:put(i) end end)
  group:spawn(function() for i in a:items() do b:try_put(i) end end)
  group:spawn(acts(branch(r), env, depth))
  tg.select({ b, { a, "selected" }, timeout = 0.01 })
  if r(2) == 1 then a:close() end
  group:next(0.01)
end

local function topics(r, env)
  local policy = one_of(r, { "drop_oldest", "latest", "close", "block" })
  local room = tg.topic("room-" .. r(4), { history = r(8), overflow = policy, linger = 0 })
  local kind = r(4)
  if kind == 1 then
    for _ = 1, r(30) do room:publish({ data = ("t"):rep(r(8000)), key = "k" .. r(3) }) end
  elseif kind == 2 then
    room:publish({ data = { 1 } }, policy == "block" and { wait = 0.01 } or nil)
  elseif kind == 3 then
    local left = r(4)
    tg.timeout(0.02, function()
      for _ in room:events(r(2) == 1 and "0" or nil) do
        left = left - 1
        if left == 0 then break end
      end
    end)
  else
    local news, reader = room:events()
    local task = tg.spawn(news, reader)
    if r(3) == 1 then tg.spawn(function() short_wait(r) pcall(news, reader) end) end
    tg.spawn(function() room:publish("x") end)
    short_wait(r)
    if env.bounded or r(2) == 1 then task:cancel() end
  end
  if r(12) == 1 then room:close() end
end

local ACTIONS = {
  function(r, env) if env.out then env.out:write(("w"):rep(r(3000))) end end,
  function(r, env) if env.out then env.out:write(("W"):rep(r(400000))) end end,
  function(_, env) if env.out then env.out:flush() end end,
  function(r, env, depth) if env.out then env.out:print(body_of(r, env, depth + 1)) end end,
  short_wait, short_wait, short_wait, short_wait,
  function(r, env, depth) pcall(acts(r, env, depth)) end,
  function(r, env, depth)
    local task = tg.spawn(acts(branch(r), env, depth))
    if r(6) == 1 then keep(task) end
    local kind = r(4)
    if kind == 1 then task:join() elseif kind == 2 then task:cancel() elseif kind == 3 then short_wait(r) task:cancel() end
  end,
  function(r, env, depth)
    local inner = setmetatable({ bounded = true }, { __index = env })
    local run = acts(branch(r), inner, depth)
    tg.detach(function() tg.timeout(0.1, run) end)
  end,
  function(r, env, depth) tg.timeout(one_of(r, { 0, 0.001, 0.02 }), acts(r, env, depth)) end,
  function(r, env, depth) tg.all({ acts(branch(r), env, depth), acts(branch(r), env, depth) }) end,
  function(r, env, depth) tg.race({ acts(branch(r), env, depth), acts(branch(r), env, depth), nothing }) end,
  coroutines, channels, topics, topics,
  function(r, env, depth)
    local response = fetch(r, env, depth)
    local kind = r(4)
    if kind == 1 then
      response.body:read()
    elseif kind == 2 then
      response.body:all()
    elseif kind == 3 then
      response.body:close()
    elseif env.out then
      for chunk in response.body:chunks() do env.out:write(chunk) end
    end
  end,
  function(r, env, depth) if r(2) == 1 then env.ctx:write_response({ body = body_of(r, env, depth + 1) }) end end,
  function(r, env, depth) if r(2) == 1 then env.ctx:write_response_body(body_of(r, env, depth + 1)) end end,
  function(_, env) env.ctx:flush() end,
  function(r, env) env.ctx:on_close(one_of(r, {
    nothing, function() error("raised in on_close", 0) end, function() tg.sleep(0) end, function() collectgarbage() end,
    function() tg.spawn(short_wait, r) end, function() tg.detach(short_wait, r) end,
    function() env.ctx:write_response_body("late") end, function() for _, v in pairs(kept) do pcall(use, r, v) end end,
    function() tg.topic("room-1"):publish("closed") end, function() env.ctx:on_close(nothing) end,
  })) end,
  function(_, env) keep(env.request.body:read()) end,
  function(_, env) keep(env.request.body) end,
  function(_, env) env.request.body:all() end,
  function(r) for _ = 1, 4 do pcall(use, r, kept[r(KEPT)]) end end,
  function(_, env) keep(env.ctx) end,
  function(_, env) keep(env.request) end,
  function(r) tg.shared("storm", { bytes = 65536 }):set("k" .. r(40), ("v"):rep(r(3000)), 0.01) end,
  function() collectgarbage("step") end,
  function(r) tg.wait(function(resume)
    keep(resume)
    if r(2) == 1 then resume() else tg.spawn(resume, 1) end
  end, 0.01) end,
  function(_, env) forever(env) end,
  function() error("raised by an action", 0) end,
  function() error({ status = 418, message = "teapot" }) end,
  function(_, env) if env.out then env.out:close() end end,
  function(r, env, depth)
    local reader <close> = tg.read_body(body_of(r, env, depth + 1))
    for _ = 1, r(3) do reader:read() end
    if r(3) == 1 then reader:all(1000) end
  end,
  function(_, env) env.ctx:enqueue(nothing) end,
}

function act(r, env, depth)
  if depth >= DEPTH then return end
  local action = one_of(r, ACTIONS)
  if r(4) == 1 then return action(r, env, depth) end
  local well, err = pcall(action, r, env, depth)
  if not well and err == tg.closed then error(err) end
end

-- --- Handlers and interceptors -----------------------------------------------------------------------

local function respond(r, env)
  local headers = { ["X-Seed"] = env.request.query.seed }
  if r(5) == 1 then
    headers["Content-Type"] = one_of(r, { "text/plain", "application/x-ndjson", "text/csv", "text/event-stream",
      "application/edn", "application/json" })
  end
  if r(12) == 1 then headers["Content-Length"] = r(100) end
  return { status = r(12) == 1 and one_of(r, { 204, 304, 404, 500 }) or nil, headers = headers, body = body_of(r, env, 0) }
end

local function env_of(request, ctx)
  local seed = tonumber(request.query.seed) or 1
  return { request = request, ctx = ctx, nested = request.query.nested }, sequence(seed)
end

local function any(request, ctx)
  local env, r = env_of(request, ctx)
  local _ <close> = guard(r, env)
  for _ = 1, r(3) - 1 do act(r, env, 1) end
  return respond(r, env)
end

local sse = tg.sse(function(events, ctx)
  local env, r = env_of(ctx.request, ctx)
  local _ <close> = guard(r, env)
  if r(4) == 1 then keep(events) end
  for _ = 1, r(5) do
    local kind = r(6)
    if kind == 1 then
      events:send({ data = ("d"):rep(r(20000)) })
    elseif kind == 2 then
      events:comment("c")
    elseif kind == 3 then
      events:subscribe(tg.topic("room-" .. r(4)))
    elseif kind == 4 then
      tg.spawn(function() events:subscribe(tg.topic("room-" .. r(4), { overflow = "block" })) end)
    elseif kind == 5 then
      tg.spawn(function() events:send("x") short_wait(r) events:close() end)
    else
      act(r, env, 2)
    end
  end
end, { heartbeat = 0.1 })

local function stage(name)
  return function(ctx)
    local env, r = env_of(ctx.request, ctx)
    r(#name + 1)
    local own = branch(r)
    local _ <close> = guard(own, env)
    if own(3) == 1 then act(own, env, 2) end
    if own(6) == 1 then ctx.response = respond(own, env) end
    local response = ctx.response
    if name ~= "enter" and type(response) == "table" and response.body and own(3) == 1 then
      response.body = tg.map_body(response.body, function(chunk) return chunk end)
    end
    if name == "error" and own(3) > 1 then ctx.response = { status = 500, body = body_of(own, env, 2) } end
  end
end

local watch = { name = "watch", enter = function(ctx)
  local told = false
  count.exchanges = count.exchanges + 1
  ctx:on_close(function()
    if told then count.twice = count.twice + 1 end
    told = true
    count.exchanges = count.exchanges - 1
  end)
end }

local wild = { name = "wild", enter = stage("enter"), leave = stage("leave"), error = stage("error") }

-- --- The server that misbehaves ----------------------------------------------------------------------

local ANSWERS = {
  ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
  empty = "HTTP/1.1 204 No Content\r\n\r\n",
  short = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort",
  garbage = "SSH-2.0 not HTTP\r\n\r\n",
  ["bad-chunk"] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
  continue = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nc",
  gzip = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\31\139\8\0",
  ["until-close"] = "HTTP/1.1 200 OK\r\n\r\nuntil the end",
  ["not-modified"] = "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
  upgrade = "HTTP/1.1 101 Switching\r\n\r\nbytes",
  extra = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
}

local function misbehave(wire, path)
  if path == "at-once" then return end
  if path == "never" then tg.sleep(10) end
  if path == "reset" then
    wire:write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nreset")
    tg.sleep(0.002)
    wire:reset()
  elseif path == "large" then
    wire:write("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
    for _ = 1, 30 do if not wire:write(("L"):rep(100000)) then return end end
  elseif path == "no-end" then
    wire:write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while wire:write("1000\r\n" .. ("n"):rep(4096) .. "\r\n") do tg.sleep(0.001) end
  elseif path == "trickle" or path == "head-in-parts" then
    for c in ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"):gmatch("..?") do
      if not wire:write(c) then return end
      tg.sleep(0.001)
    end
  else
    wire:write(ANSWERS[path] or ANSWERS.ok)
  end
end

local function serve(wire)
  local socket <close> = wire -- luacheck: ignore
  local head = ""
  tg.timeout(0.5, function()
    while true do
      while not head:find("\r\n\r\n", 1, true) do
        local bytes = wire:read()
        if not bytes then return end
        head = head .. bytes
      end
      local path = head:match("^%u+ /([%w-]*)")
      if path ~= "early" and not head:find("^GET") and not head:find("^HEAD") then
        tg.race({ function() while wire:read() do end end, function() tg.sleep(0.005) end })
      end
      misbehave(wire, path)
      if path ~= "ok" and path ~= "trickle" then return end
      head = ""
    end
  end)
end

local function listen()
  local listener = core._test_listen()
  wire_port = listener:port()
  tg.background(function()
    while true do
      local wire = listener:accept()
      tg.background(function() pcall(serve, wire) end)
    end
  end)
end

local function measure()
  for i = 1, KEPT do kept[i] = nil end
  tg.shared("storm"):clear()
  for i = 1, 4 do tg.topic("room-" .. i, { history = 1, linger = 0, overflow = "drop_oldest" }):close() end
  for _ = 1, 3 do collectgarbage() end
  return { body = { stats = tg.stats(), count = count }, headers = { Connection = "close" } }
end

return {
  limits = { response_timeout = 0.3, write_timeout = 0.4, head_timeout = 0.4, idle_timeout = 0.4, body_bytes = 500000,
    body_drain = 20000, body_buffer = 100000, high_water = 65536, low_water = 16384, drain = 2, connections = 2000 },
  on_start = listen,
  routes = {
    { "/measure", get = measure },
    { "/fine", get = function() return { body = "fine" } end },
    { "/", interceptors = { watch },
      { "/any", any = any },
      { "/wild", interceptors = { wild }, any = any },
      { "/compressed", interceptors = { tg.compress({ min_length = 0, types = { "text/*", "application/*" } }) }, any = any },
      { "/both", interceptors = { wild, tg.compress({ min_length = 0 }), wild }, any = any },
      { "/params", interceptors = { tg.body_params({ pass = true }), tg.limit({ rate = 1000, burst = 100 }) }, any = any },
      { "/sse", any = sse },
      { "/poll", get = tg.poll(function(request) return tg.topic("room-" .. #request.query.seed % 4 + 1) end,
        { timeout = 0.05 }) },
      { "/publish", post = tg.publish_handler(function() return tg.topic("room-1") end) },
      { "/proxy/*path", any = function(request, ctx)
        return tg.proxy(("http://127.0.0.1:%d"):format(wire_port), { strip = "/proxy", timeout = 0.2 })(request, ctx)
      end },
    },
  },
}
