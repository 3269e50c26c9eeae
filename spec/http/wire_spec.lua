-- What hostile bytes do to a connection: each row, sent to a server, then a request that a server
-- which framed it otherwise would answer.
local raw = require("raw")
local rows = require("wire_rows")
local server = require("server")

-- Answers whatever gets as far as the chain, matched or not, with what it was.
local SCRIPT = [[
return {
  interceptors = { {
    name = "echo",
    enter = function(ctx)
      local body = ctx.request.body:all()
      ctx.response = {
        headers = { ["X-Target"] = ctx.request.target, ["X-Body-Length"] = tostring(#body) },
        body = ctx.request.target .. "\n" .. body,
      }
    end,
  } },
  routes = { { "/nobody-asks-for-this", get = function() return {} end } },
}
]]

local END = "GET /END HTTP/1.1\r\nHost: a\r\n\r\n"

local function header(response, name) return (response.headers[name] or {})[1] end

-- One response, seen as rows see it.
local function read(client, row, seen)
  local is_head = row.bytes:sub(1, 5) == "HEAD " and #seen.statuses == 0
  local response, why = client:read_response(5, { head = is_head })
  assert(response, why)
  assert.is_true(response.complete, response.error)
  seen.statuses[#seen.statuses + 1] = response.status
  if response.status ~= 200 then return end
  local target = header(response, "x-target")
  assert.is_truthy(target, "a 200 that no handler gave")
  if is_head then
    assert.equal("", response.body)
    seen.bodies[1] = tonumber(header(response, "x-body-length"))
  else
    assert.equal(target .. "\n", response.body:sub(1, #target + 1))
    seen.bodies[#seen.bodies + 1] = response.body:sub(#target + 2)
  end
  seen.targets[#seen.targets + 1] = target
end

local function expected(row)
  local bodies = row.bodies
  if row.bytes:sub(1, 5) == "HEAD " then bodies = { #row.bodies[1] } end
  return { statuses = row.statuses, bodies = bodies, targets = row.targets }
end

-- Reads what the row promises and not one byte more: on a connection that stays open the next
-- answer is to END, and else nothing follows.
local function check(port, row, client)
  local seen = { statuses = {}, bodies = {}, targets = {} }
  for _ = 1, #row.statuses do read(client, row, seen) end
  assert.same(expected(row), seen)
  if row.ends == "open" then
    assert(client:send(END))
    local last = assert(client:read_response())
    assert.same({ 200, "/END" }, { last.status, header(last, "x-target") })
  else
    assert.same({ "", "closed" }, { client:read_all() })
  end
  assert.equal(200, raw.get(port, "/").status)
end

describe("on the wire,", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  for _, row in ipairs(rows) do
    it(row.name .. " comes out as the table says (B51)", function()
      local client <close> = assert(raw.connect(s.port))
      assert(client:send(row.bytes .. rows.MARK))
      if row.rest then
        assert.is_true(client:is_silent(0.02), "answered before the whole body had come")
        assert(client:send(row.rest))
      end
      check(s.port, row, client)
    end)
  end

  for _, row in ipairs(rows) do
    it(row.name .. " comes out the same when its bytes come one by one (B51)", function()
      local client <close> = assert(raw.connect(s.port))
      local bytes = row.bytes .. rows.MARK .. (row.rest or "")
      for at = 1, #bytes do
        -- A server that has refused the beginning may be gone before the end.
        if not client:send(bytes:sub(at, at)) and row.ends == "close" then break end
      end
      check(s.port, row, client)
    end)
  end
end)
