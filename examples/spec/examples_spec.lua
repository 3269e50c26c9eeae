--- The examples, tested as a service of one's own is: `tidegate test examples`.
local tg = require("tidegate")

local function example(name)
  return dofile(name .. ".lua")
end

describe("streaming.lua", function()
  local service = example("streaming")
  local clock

  before_each(function() clock = tg.test.clock() end)
  after_each(function() clock:stop() end)

  it("streams ten numbers, or as many as are asked for", function()
    assert.equal("[0,1,2,3,4,5,6,7,8,9]", tg.test.response_for(service, "GET", "/range").body)
    local lines = tg.test.response_for(service, "GET", "/range?limit=2", {
      headers = { Accept = "application/x-ndjson" },
    })
    assert.equal("0\n1\n", lines.body)
  end)

  it("holds an endless sequence back while nobody reads it", function()
    local stream <close> = tg.test.stream_for(service, "GET", "/range?limit=10000000")
    stream:head()
    clock:advance(1)
    assert.is_true(stream:waiting() < 1024 * 1024)
  end)

  it("sends each step when it is done", function()
    local stream = tg.test.stream_for(service, "GET", "/slow")
    clock:advance(2)
    local times = {}
    for chunk, at in stream:chunks() do
      assert.matches('"step":' .. #times + 1, chunk)
      times[#times + 1] = at
    end
    assert.equal(8, #times)
    for step, at in ipairs(times) do assert.near(step * 0.12, at, 0.001) end
  end)

  it("counts down in a second", function()
    clock:run()
    local response = tg.test.response_for(service, "GET", "/countdown")
    assert.equal("3 …\n2 …\n1 …\nthe gate opens\n", response.body)
    assert.near(0.9, response.chunks[#response.chunks].at, 0.01)
  end)

  it("echoes an upload as it comes", function()
    local response = tg.test.response_for(service, "PUT", "/echo", { body = { "one ", "two" } })
    assert.equal("one two", response.body)
  end)
end)

describe("lowlevel.lua", function()
  local service = example("lowlevel")

  it("has said hello before its handler goes on", function()
    local clock <close> = tg.test.clock()
    local stream = tg.test.stream_for(service, "GET", "/early")
    assert.equal("hello, ", (stream:read()))
    clock:advance(0.2)
    assert.equal("world\n", (stream:read()))
    assert.equal("done", (stream:over()))
  end)
end)

describe("chat.lua", function()
  local service = example("chat")

  it("shows what is said in a room to those who read it", function()
    local reader <close> = tg.test.stream_for(service, "GET", "/rooms/tide/events")
    reader:head()
    local said = tg.test.response_for(service, "POST", "/rooms/tide", {
      form = { name = "Ann", text = "hello" },
    })
    assert.is_true(said.status < 400, said.body)
    local text = ""
    while not text:find("hello", 1, true) do text = text .. reader:read() end
    assert.equal(404, tg.test.response_for(service, "GET", "/rooms/TIDE/events").status)
  end)
end)
