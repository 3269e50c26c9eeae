-- A gateway before two servers.  Start those first:
-- build/tidegate run examples/backend.lua --listen 127.0.0.1:9001 &
-- build/tidegate run examples/backend.lua --listen 127.0.0.1:9002 &
-- Then try:
-- curl -i http://127.0.0.1:8080/api/hello/world
-- curl -T README.md http://127.0.0.1:8080/api/echo
-- curl -H 'Authorization: Bearer tea' http://127.0.0.1:8080/members/hello/world
-- curl --compressed -H 'Authorization: Bearer tea' http://127.0.0.1:8080/members/numbers?count=900
-- curl -N http://127.0.0.1:8080/page
-- curl http://127.0.0.1:8080/status

local tg = require("tidegate")

local A = os.getenv("BACKEND_A") or "http://127.0.0.1:9001"
local B = os.getenv("BACKEND_B") or "http://127.0.0.1:9002"

--- Each in its turn, as long as it is well; one that fails three times in a row is left alone for
--- five seconds.
local pool = tg.pool({
  targets = { A, B },
  max_fails = 3,
  fail_timeout = 5,
  health = { path = "/health", interval = 2 },
})

--- Bodies stream both ways; headers are rewritten on the way there and back. Nobody but this
--- gateway may say who the user is.
local api = tg.proxy(pool, {
  strip = "/api",
  request_headers = { ["X-Gateway"] = "tidegate", ["X-User"] = false },
  response_headers = { ["X-Secret"] = false },
})

local TOKENS = { tea = "ada", swordfish = "grace" }

--- Members have a token. The servers are told who it is, and not the token.
local members_only = {
  name = "members_only",
  enter = function(ctx)
    local headers = ctx.request.headers
    ctx.user = TOKENS[(headers.authorization or ""):match("^Bearer (%w+)$")]
    if not ctx.user then
      ctx.response = { status = 401, headers = { ["WWW-Authenticate"] = "Bearer" } }
    end
    headers["X-User"] = ctx.user
    headers.authorization = nil
  end,
}

local by_user = tg.limit({ rate = 1, burst = 20, key = function(ctx) return ctx.user end })

local members = tg.proxy(pool, { strip = "/members", response_headers = { ["X-Secret"] = false } })

--- One part of the page: what the server says goes to the client as it comes. One that cannot be
--- asked is null; the others are there all the same.
local function write_part(out, name, response, why)
  out:write('"', name, '":')
  if not response or response.status ~= 200 then
    tg.log.warn("page: " .. name .. ": " .. (why or "status " .. response.status))
    out:write("null")
    return
  end
  for chunk in response.body:chunks() do
    out:write(chunk)
  end
end

--- One JSON document made of what two servers say. Both are asked at the same time, and whoever
--- answers first comes first.
local function page()
  local parts = {
    slow = A .. "/numbers?pause=0.3",
    quick = B .. "/numbers?pause=0.2",
  }
  return {
    headers = { ["Content-Type"] = "application/json" },
    body = function(out)
      local group <close> = tg.group()
      local names, comma = {}, "{"
      for name, url in pairs(parts) do
        names[group:spawn(tg.fetch, url)] = name
      end
      local task = group:next()
      while task do
        out:write(comma)
        write_part(out, names[task], task:join())
        task, comma = group:next(), ","
      end
      out:write("}\n")
    end,
  }
end

return {
  listen = "127.0.0.1:8080",
  routes = {
    { "/api/*rest", any = api },
    { "/members/*rest", interceptors = { tg.compress(), members_only, by_user }, any = members },
    { "/page", get = page },
    { "/status", get = function() return { body = pool:status() } end },
  },
}
