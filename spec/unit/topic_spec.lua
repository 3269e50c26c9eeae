-- topic_spec.lua - histories, subscribers and readers of topics, over sinks that a spec fills, and
-- under a storm of threads.

local probe = require("probe_topic")

local function new() return assert(probe.new()) end

local function fill(topic, from, to, options)
  local ids = {}
  for i = from, to do ids[i] = assert(topic:publish("event " .. i, options)) end
  return ids
end

--- The data of the events in a stream's text, comments and blocks without data as they are.
local function blocks(text)
  local list = {}
  for block in text:gmatch("(.-)\n\n") do list[#list + 1] = block:match("data: (.*)") or block end
  return list
end

local function range(from, to)
  local list = {}
  for i = from, to do list[#list + 1] = "event " .. i end
  return list
end

local function number(id) return tonumber(id:match("%d+$")) end

describe("an event's id", function()
  it("is its topic's epoch and a number that goes up by one", function()
    local topic = new():topic("t")
    local first, second = topic:publish("a"), topic:publish("b")
    assert.matches("^%x+%-1$", first)
    assert.equal(first:match("^%x+") .. "-2", second)
    assert.equal(13, #first:match("^%x+"))
  end)

  it("is another for each broker", function()
    local a, b = new():topic("t"), new():topic("t")
    assert.are_not.equal(a:publish("x"), b:publish("x"))
  end)

  it("is never given again for one name, whatever became of the topic", function()
    local world = new()
    local last = 0
    for _ = 1, 3 do
      local topic = world:topic("t", { linger = 0 })
      for _ = 1, 3 do
        local this = number(topic:publish("x"))
        assert.is_true(this > last)
        last = this
      end
      topic:close()
      topic:release()
      topic = world:topic("t", { linger = 0 })
      assert.is_true(number(topic:publish("x")) > last)
      last = last + 1
      topic:release()
      assert.equal(0, world:topics())
    end
  end)

  it("is read strictly", function()
    local epoch = "0123456789abc"
    assert.equal(7, probe.parse(epoch .. "-7", epoch))
    assert.equal(0, probe.parse(epoch .. "-0", epoch))
    assert.equal(999999999999999999, probe.parse(epoch .. "-" .. ("9"):rep(18), epoch))
    for _, text in ipairs({
      "", "-", epoch, epoch .. "-", epoch .. "-x", epoch .. "- 1", epoch .. "-+1", epoch .. "-1 ", epoch .. "-0x1",
      "1123456789abc-7", epoch .. "_7", epoch .. "-" .. ("9"):rep(20), epoch .. "-1\0",
    }) do
      assert.is_nil(probe.parse(text, epoch), text)
    end
  end)
end)

describe("a topic", function()
  it("lives for as long as somebody has it, or its history lingers", function()
    local world = new()
    local topic = world:topic("a")
    assert.equal(1, world:topics())
    topic:release()
    assert.equal(0, world:topics())
    topic = world:topic("a")
    topic:publish("x")
    topic:release()
    assert.equal(1, world:topics())
    topic = world:topic("a", { linger = 0 })
    assert.equal(1, topic:stats().history)
    local subscriber = topic:subscribe()
    topic:release()
    assert.equal(1, world:topics())
    subscriber:stop()
    assert.equal(0, world:topics())
  end)

  it("refuses a name that is empty, too long, or has control characters", function()
    local world = new()
    for _, bad in ipairs({ { "", "invalid" }, { "a\nb", "invalid" }, { "\127", "invalid" }, { ("x"):rep(256), "limit" } }) do
      local topic, why = world:topic(bad[1])
      assert.is_nil(topic)
      assert.equal(bad[2], why)
    end
    assert.is_truthy(world:topic(("x"):rep(255)))
  end)

  it("finds each of many by its name", function()
    local world, topics = new(), {}
    for i = 1, 2000 do topics[i] = assert(world:topic("name " .. i)) end
    assert.equal(2000, world:topics())
    for i = 1, 2000 do topics[i]:publish("x") end
    for i = 1, 2000, 7 do assert.equal(1, world:topic("name " .. i):stats().published) end
    for i = 1, 2000 do topics[i] = nil end
    collectgarbage()
    collectgarbage()
    assert.equal(2000, world:topics()) -- they linger
  end)

  it("refuses an event that is too large, or whose name would break the stream", function()
    local topic = new():topic("t")
    local function refused(why, data, options)
      local id, said = topic:publish(data, options)
      assert.is_nil(id)
      assert.equal(why, said)
    end
    refused("limit", ("x"):rep(1048577))
    refused("limit", "x", { event = ("x"):rep(256) })
    refused("limit", "x", { key = ("x"):rep(256) })
    refused("invalid", "x", { event = "a\nb" })
    refused("invalid", "x", { event = "a\rb" })
    refused("invalid", "x", { event = "a\0b" })
    refused("invalid", "x", { event = "tidegate-x" })
    assert.is_truthy(topic:publish(("x"):rep(1048576), { event = ("x"):rep(255) }))
    topic:close()
    refused("closed", "x")
  end)

  describe("its history", function()
    local function replay(topic, after)
      local subscriber = assert(topic:subscribe({ after = after }))
      return subscriber
    end

    it("is bounded by a number of events, by bytes and by age", function()
      local world = new()
      local topic = world:topic("t", { history = 100 })
      fill(topic, 1, 250)
      assert.equal(100, topic:stats().history)
      topic:set({ history = 70 })
      assert.equal(70, topic:stats().history)
      topic:set({ history = 1000, history_bytes = 10000 })
      fill(topic, 1, 250)
      assert.is_true(topic:stats().history_bytes <= 10000)
      assert.is_true(topic:stats().history > 10)
      topic:publish(("x"):rep(100000))
      assert.equal(1, topic:stats().history)
      topic:set({ history_bytes = 1 << 20, max_age = 1 })
      local deadline = os.clock() + 5
      while topic:stats().history > 0 and os.clock() < deadline do
        local late = topic:subscribe() -- it is looked through whenever somebody comes
        late:stop()
      end
      assert.equal(0, topic:stats().history)
      assert.equal(0, topic:stats().history_bytes)
    end)

    it("is replayed from behind any of its ids, and from nothing before", function()
      local world = new()
      local topic = world:topic("t", { history = 80 })
      local ids = fill(topic, 1, 100)
      for _, i in ipairs({ 20, 21, 50, 99, 100 }) do
        local subscriber = replay(topic, ids[i])
        world:turn()
        assert.same(range(i + 1, 100), blocks(subscriber:text()))
      end
      local subscriber = replay(topic, ids[19])
      world:turn()
      local got = blocks(subscriber:text())
      assert.equal('{"missed":1}', table.remove(got, 1))
      assert.same(range(21, 100), got)
    end)

    it("keeps 64 events for those on their way, and shows none of them to others, when it is shorter", function()
      local world = new()
      local topic = world:topic("t", { history = 3 })
      local on_its_way = topic:subscribe()
      local ids = fill(topic, 1, 60)
      local subscriber = replay(topic, ids[50])
      world:turn()
      local got = blocks(subscriber:text())
      assert.equal('{"missed":7}', table.remove(got, 1))
      assert.same(range(58, 60), got)
      got = blocks(on_its_way:text())
      assert.matches("^id: ", table.remove(got, 1))
      assert.same(range(1, 60), got)
    end)

    it("has the latest of each key for as long as it is among the latest of them", function()
      local world = new()
      local topic = world:topic("t", { history = 70, overflow = "latest" })
      local ids = fill(topic, 1, 1, { key = "a" })
      fill(topic, 2, 2, { key = "b" })
      fill(topic, 3, 200, { key = "busy" })
      assert.equal(72, topic:stats().history)
      fill(topic, 201, 201, { key = "a" })
      assert.equal(71, topic:stats().history)
      local subscriber = replay(topic, ids[1])
      world:turn()
      assert.same({ "event 2", "event 200", "event 201" }, blocks(subscriber:text()))
      for _ = 1, 200 do topic:publish(("x"):rep(20000), { key = "large" }) end
      assert.is_true(topic:stats().history_bytes < 1 << 20)
      local late = replay(topic, ids[1])
      world:turn(20)
      local got = blocks(late:text())
      assert.same({ "event 2", "event 200", "event 201" }, { table.unpack(got, 1, 3) })
      for i = 4, #got do assert.equal(20000, #got[i]) end
      for i = 1, 300 do topic:publish("event " .. i, { key = "key " .. i }) end
      assert.equal(140, topic:stats().history)
      topic:set({ history_bytes = 10000 })
      assert.is_true(topic:stats().history_bytes <= 10000)
      topic:set({ history_bytes = 1 << 20 })
      for i = 1, 300 do topic:publish("event " .. i, { key = "key " .. i }) end
      topic:set({ overflow = "drop_oldest" })
      assert.equal(70, topic:stats().history)
    end)
  end)
end)

describe("a subscriber", function()
  it("gets what many get as one lent text, and several events in one piece (B47)", function()
    local world = new()
    local topic = world:topic("t")
    local a, b = topic:subscribe(), topic:subscribe()
    fill(topic, 1, 10)
    world:turn()
    for _, subscriber in ipairs({ a, b }) do
      assert.equal(1, subscriber:state().lent)
      local got = blocks(subscriber:text())
      table.remove(got, 1)
      assert.same(range(1, 10), got)
    end
    assert.equal(20, topic:stats().delivered)
  end)

  it("gets what another thread has published, too", function()
    local world = new()
    local topic = world:topic("t")
    local subscriber = topic:subscribe()
    topic:publish("x", { foreign = true })
    world:turn()
    assert.matches("data: x\n\n$", subscriber:text())
  end)

  it("is left alone while its client is slow, and gets the rest when it is not", function()
    local world = new()
    local topic = world:topic("t")
    local subscriber = topic:subscribe({ room = 100 })
    fill(topic, 1, 3)
    world:turn()
    assert.is_true(subscriber:state().waits)
    local sends = subscriber:state().sends
    fill(topic, 4, 60)
    world:turn()
    assert.equal(sends, subscriber:state().sends)
    local slow = topic:stats().slow
    assert.equal(1, #slow)
    assert.matches("^client %d+$", slow[1].who)
    assert.equal(57, slow[1].behind)
    subscriber:drain()
    world:turn()
    assert.same({}, topic:stats().slow)
    local got = blocks(subscriber:text())
    table.remove(got, 1)
    assert.same(range(1, 60), got)
    assert.equal(sends + 1, subscriber:state().sends)
  end)

  it("is sent no more than 64 KiB at a time, and no less than one event", function()
    local world = new()
    local topic = world:topic("t", { history_bytes = 10 << 20 })
    local subscriber = topic:subscribe()
    for _ = 1, 20 do topic:publish(("x"):rep(10000)) end
    topic:publish(("y"):rep(200000))
    world:turn(20)
    assert.equal(5, subscriber:state().lent)
    assert.equal(20 * 10000, select(2, subscriber:text():gsub("x", "")))
  end)

  it("hears how many events it has missed (drop_oldest), also as a line of JSON", function()
    local world = new()
    local topic = world:topic("t", { history = 70 })
    local stream, lines = topic:subscribe({ room = 60 }), topic:subscribe({ room = 60, lines = true })
    fill(topic, 1, 2)
    world:turn()
    fill(topic, 3, 200)
    world:turn()
    assert.equal(126 - 58 + 60, topic:stats().slow[1].dropped)
    stream:text()
    lines:text()
    stream:drain()
    lines:drain()
    world:turn()
    local got = blocks(stream:text())
    assert.equal(": 128 events were dropped", table.remove(got, 1))
    assert.same(range(131, 200), got)
    assert.matches('^{"event":"tidegate%-gap","data":{"missed":128}}\n{"id":"%x+%-131","data":"event 131"}\n', lines:text())
    assert.equal(256, topic:stats().dropped)
  end)

  it("gets the latest of each key, in order, and then everything again (latest)", function()
    local world = new()
    local topic = world:topic("t", { history = 70, overflow = "latest" })
    local subscriber = topic:subscribe({ room = 100 })
    topic:publish("a 1", { key = "a" })
    topic:publish("b 1", { key = "b" })
    world:turn()
    topic:publish("b 2", { key = "b" })
    topic:publish("c 1", { event = "c" })
    fill(topic, 1, 200, { key = "busy" })
    topic:publish("a 2", { key = "a" })
    subscriber:text()
    subscriber:drain()
    world:turn()
    assert.same({ "b 2", "c 1", "event 200", "a 2" }, blocks(subscriber:text()))
    fill(topic, 1, 3, { key = "busy" })
    world:turn()
    assert.same(range(1, 3), blocks(subscriber:text()))
  end)

  it("is sent away with its id while it still waits for its client (close)", function()
    local world = new()
    local topic = world:topic("t", { history = 70, overflow = "close" })
    local subscriber = topic:subscribe({ room = 100 })
    local ids = fill(topic, 1, 3)
    world:turn()
    fill(topic, 4, 73)
    world:turn()
    assert.is_nil(subscriber:state().done)
    fill(topic, 74, 74)
    world:turn()
    assert.equal("ok", subscriber:state().done)
    assert.matches("\nid: " .. ids[3]:gsub("%-", "%%-") .. "\nretry: %d+\n\n$", subscriber:text())
    assert.equal(0, topic:stats().subscribers)
  end)

  it("holds up a publisher that waits, and one that does not it loses events to (block)", function()
    local world = new()
    local topic = world:topic("t", { history = 70, overflow = "block" })
    local subscriber, other = topic:subscribe({ room = 100 }), topic:subscribe()
    fill(topic, 1, 3)
    world:turn()
    fill(topic, 4, 73, { wait = true })
    world:turn()
    local id, why = topic:publish("event 74", { wait = true })
    assert.is_nil(id)
    assert.equal("again", why)
    world:turn()
    assert.equal(0, topic:rooms())
    subscriber:drain(10)
    world:turn()
    assert.equal(1, topic:rooms())
    assert.is_truthy(topic:publish("event 74", { wait = true }))
    world:turn()
    local got = blocks(other:text())
    table.remove(got, 1)
    assert.same(range(1, 74), got)
    fill(topic, 75, 300)
    subscriber:drain()
    world:turn()
    assert.matches(": %d+ events were dropped", subscriber:text())
  end)

  it("that leaves, and a topic that is closed, let a publisher go that waits (block)", function()
    for _, way in ipairs({ "leave", "close", "unwait", "set" }) do
      local world = new()
      local topic = world:topic("t", { history = 70, overflow = "block" })
      local subscriber = topic:subscribe({ room = 100 })
      local reader = topic:reader()
      fill(topic, 1, 3)
      world:turn()
      for _ = 1, 70 do topic:publish("x", { wait = true }) end
      assert.is_nil((topic:publish("x", { wait = true })))
      if way == "leave" then
        subscriber:stop()
        world:turn()
        assert.is_nil((topic:publish("x", { wait = true }))) -- the reader has read nothing
        repeat until reader:next() == "again"
      elseif way == "close" then
        topic:close()
      elseif way == "set" then
        topic:set({ overflow = "drop_oldest" })
      else
        topic:unwait()
      end
      world:turn()
      assert.equal(({ leave = 2, close = 1, unwait = 0, set = 1 })[way], topic:rooms(), way)
    end
  end)

  it("is told of its end when its topic is closed, or the worker stops, or its client has gone", function()
    for _, way in ipairs({ "close", "stop", "leave" }) do
      local world = new()
      local topic = world:topic("t")
      local fast, slow = topic:subscribe(), topic:subscribe({ room = 30 })
      fill(topic, 1, 3)
      world:turn()
      fill(topic, 4, 5)
      if way == "close" then topic:close() end
      if way == "stop" then world:stop() end
      if way == "leave" then
        fast:leave()
        slow:leave()
      end
      world:turn()
      assert.equal(way == "leave" and "closed" or "ok", fast:state().done)
      if way ~= "leave" then assert.same(range(4, 5), { table.unpack(blocks(fast:text()), 5) }) end
      slow:drain()
      world:turn()
      assert.equal(way == "leave" and "closed" or "ok", slow:state().done)
      assert.equal(0, topic:stats().subscribers)
      if way == "stop" then
        local late = topic:subscribe()
        world:turn()
        assert.equal("ok", late:state().done)
      end
    end
  end)

  it("may leave at any time, whatever it waits for", function()
    for _, room in ipairs({ 0, 30, 100, 1 << 20 }) do
      for turns = 0, 3 do
        local world = new()
        local topic = world:topic("t")
        local others = { topic:subscribe(), topic:subscribe() }
        local subscriber = topic:subscribe({ room = room })
        fill(topic, 1, 3)
        world:turn(turns)
        fill(topic, 4, 5)
        subscriber:stop()
        world:turn()
        for _, other in ipairs(others) do assert.equal(6, #blocks(other:text())) end
        assert.equal(2, topic:stats().subscribers)
      end
    end
  end)

  it("has its turn beside those of other topics, and the loop has its own between", function()
    local world = new()
    local busy, calm = world:topic("busy"), world:topic("calm")
    local crowd = {}
    for i = 1, 1000 do crowd[i] = busy:subscribe() end
    local one = calm:subscribe()
    world:turn()
    one:text()
    busy:publish("x")
    calm:publish("y")
    world:turn(2)
    assert.matches("data: y", one:text())
    local served = 0
    for _, subscriber in ipairs(crowd) do
      if subscriber:text():find("data: x") then served = served + 1 end
    end
    assert.is_true(served < 1000)
    world:turn(8)
    assert.equal(1000, busy:stats().delivered)
  end)
end)

describe("a reader", function()
  it("takes events one by one, and is called once for each time that there are none", function()
    local world = new()
    local topic = world:topic("t")
    local reader = topic:reader()
    assert.equal("again", reader:next())
    assert.equal("again", reader:next())
    local ids = fill(topic, 1, 2)
    world:turn()
    assert.equal(1, reader:news())
    assert.same({ "ok", "event 1" }, { reader:next() })
    assert.equal(ids[1], reader:position())
    assert.same({ "ok", "event 2" }, { reader:next() })
    fill(topic, 3, 3)
    world:turn()
    assert.equal(1, reader:news())
    assert.same({ "ok", "event 3" }, { reader:next() })
    assert.equal("again", reader:next())
    topic:close()
    world:turn()
    assert.equal(2, reader:news())
    assert.equal("closed", reader:next())
  end)

  it("hears of a gap, and of one that it has fallen into", function()
    local world = new()
    local topic = world:topic("t", { history = 70 })
    local ids = fill(topic, 1, 100)
    local reader = topic:reader(ids[10])
    assert.same({ "gap", 20 }, { reader:next() })
    assert.same({ "ok", "event 31" }, { reader:next() })
    fill(topic, 101, 201)
    assert.same({ "gap", 100 }, { reader:next() })
    assert.same({ "ok", "event 132" }, { reader:next() })
    assert.same({ "gap", 0 }, { topic:reader("x"):next() })
  end)

  it("goes on by its topic's policy when it is too slow", function()
    local world = new()
    local closing = world:topic("c", { history = 70, overflow = "close" })
    local reader = closing:reader()
    fill(closing, 1, 71)
    assert.equal("closed", reader:next())
    local latest = world:topic("l", { history = 70, overflow = "latest" })
    reader = latest:reader()
    latest:publish("a 1", { key = "a" })
    fill(latest, 1, 200, { key = "busy" })
    assert.same({ "ok", "a 1" }, { reader:next() })
    assert.same({ "ok", "event 200" }, { reader:next() })
    assert.equal("again", reader:next())
  end)

  it("ends when the worker stops", function()
    local world = new()
    local topic = world:topic("t")
    local reader = topic:reader()
    assert.equal("again", reader:next())
    world:stop()
    world:turn()
    assert.equal(1, reader:news())
    assert.equal("closed", reader:next())
  end)
end)

describe("topics", function()
  it("survive each allocation that fails, once (B69)", function()
    local function scene()
      local world = probe.new()
      if not world then return end
      local topic = world:topic("t", { history = 70, overflow = "latest" })
      if not topic then return end
      local stream, lines = topic:subscribe({ room = 200 }), topic:subscribe({ lines = true })
      local reader = topic:reader()
      for i = 1, 90 do topic:publish("event " .. i, { key = "k" .. i % 80 }) end
      world:turn()
      if stream then stream:drain() end
      if reader then for _ = 1, 5 do reader:next() end end
      world:turn()
      for _, client in pairs({ stream or nil, lines or nil }) do client:stop() end
      if reader then reader:stop() end
      topic:release()
    end
    for n = 1, 400 do
      probe.fail_at(n)
      scene()
      probe.fail_at(0)
      if n % 50 == 0 then collectgarbage() end -- worlds, their loops and descriptors
    end
  end)

  it("get every event of every thread to every subscriber of every other, in order (B47)", function()
    assert.is_true(probe.storm(3, 3, 300))
    assert.is_true(probe.storm(1, 4, 200))
    assert.is_true(probe.storm(4, 1, 500))
  end)
end)

describe("JSON", function()
  it("is known when it is seen", function()
    for _, text in ipairs({ "0", "-1.5e+10", '"\\u00e9"', " [1, {\"a\":[]}]\n", "null", ("["):rep(128) .. ("]"):rep(128) }) do
      assert.is_true(probe.json_valid(text), text)
    end
    for _, text in ipairs({ "", "00", "1.", "[", "]", "[1,]", '{"a"}', '{"a":1,}', "\"\1\"", "tru", "1 1", "\xc0\xaf", "\xf4\x90\x80\x80",
      ("["):rep(129) .. ("]"):rep(129), '"\\ud8"', '"' }) do
      assert.is_false(probe.json_valid(text), text)
    end
  end)
end)
