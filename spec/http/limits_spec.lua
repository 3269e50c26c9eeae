-- Limits from the command line, and those that no other spec goes past.
local raw = require("raw")
local server = require("server")

local SCRIPT = [[return {
  limits = { target_bytes = 200, connections_per_address = %d },
  routes = { { "/*rest", get = function() return { body = "x" } end } },
}]]

describe("a limit", function()
  local function get(s, length) return raw.get(s.port, "/" .. ("x"):rep(length)).status end

  it("of the command line wins over the script's, after a reload too", function()
    local s <close> = server.start({
      script = SCRIPT:format(0), args = { "--limit", "target_bytes=50", "--limit=body_bytes=3" },
    })
    for _ = 1, 2 do
      assert.equal(200, get(s, 40))
      assert.equal(414, get(s, 60))
      s:kill("HUP")
      s:wait_log("reload: .*generation 2")
    end
  end)

  it("of connections from one address is kept, across workers, and forgotten as they go (B66)", function()
    local s <close> = server.start({ script = SCRIPT:format(4), workers = 2 })
    local rest = s:fds()
    local function connect()
      local client = assert(raw.connect(s.port))
      client:send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
      return client, client:read_head(5) ~= nil
    end
    for _ = 1, 3 do
      local clients = {}
      for i = 1, 4 do
        local served
        clients[i], served = connect()
        assert.is_true(served)
      end
      local fifth, served = connect()
      assert.is_false(served)
      fifth:close()
      for _, client in ipairs(clients) do client:close() end
      server.eventually(function()
        local client, again = connect()
        client:close()
        return again
      end)
      server.eventually(function() return s:fds() <= rest end)
    end
  end)
end)
