-- The harness: what every other spec relies on without looking.
local harness = require("harness")
local raw = require("raw")
local server = require("server")

local function exists(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if file then file:close() end
  return file ~= nil
end

-- A peer that sends these pieces to whoever connects, one at a time, when told to.
local function peer(...)
  local listener = assert(harness.listen(0))
  local client = assert(raw.connect(listener:port()))
  local far = assert(listener:accept())
  listener:close()
  for _, piece in ipairs({ ... }) do assert(far:send(piece)) end
  return client, far
end

describe("a process of the harness", function()
  it("is ended and reaped when its handle is closed", function()
    local process = assert(harness.spawn({ "sleep", "100" }))
    local pid = process:pid()
    assert.is_true(exists(pid))
    process:close()
    assert.is_false(exists(pid))
  end)

  it("takes what it started with it", function()
    local process = assert(harness.spawn({ "sh", "-c", "sleep 100 & echo $!; wait" },
      { stdout = "pipe" }))
    local inner = tonumber((assert(process:read_line("stdout"))))
    assert.is_true(exists(inner))
    process:close()
    local deadline = harness.now() + 5000
    while exists(inner) and harness.now() < deadline do
      local file = io.open(("/proc/%d/stat"):format(inner))
      local state = file and file:read("a"):match("%) (%a)")
      if file then file:close() end
      if state == "Z" or not state then break end -- dead; reaping it is for init
    end
    assert.is_true(harness.now() < deadline)
  end)

  it("gives its exit code, or the signal that ended it", function()
    local process = assert(harness.spawn({ "sh", "-c", "exit 7" }))
    assert.equal(7, process:wait())
    process = assert(harness.spawn({ "sleep", "100" }))
    assert.same({ nil, "timeout" }, { process:wait(0.01) })
    process:kill("TERM")
    assert.same({ nil, "signal", 15 }, { process:wait() })
  end)

  it("gives its lines as they come, and waits no longer than told", function()
    local process <close> = assert(harness.spawn(
      { "sh", "-c", "echo one >&2; printf two >&2; exec sleep 100" }, { stderr = "pipe" }))
    assert.equal("one", process:read_line("stderr"))
    assert.same({ nil, "timeout" }, { process:read_line("stderr", 0.01) })
    process:kill("TERM")
    assert.equal("two", process:read_line("stderr"))
    assert.same({ nil, "closed" }, { process:read_line("stderr") })
  end)

  it("is not kept from ending by a full pipe", function()
    local process <close> = assert(harness.spawn(
      { "sh", "-c", "head -c 1000000 /dev/zero" }, { stdout = "pipe" }))
    assert.equal(0, process:wait())
    assert.equal(1000000, #process:output("stdout"))
  end)

  it("has the environment it was given over the spec's own", function()
    local process <close> = assert(harness.spawn({ "sh", "-c", "echo $A-$HOME-${PATH:+path}" },
      { stdout = "pipe", env = { A = "1", HOME = false } }))
    assert.equal("1--path", process:read_line("stdout"))
  end)
end)

describe("a socket of the harness", function()
  it("tells a close from a reset from silence", function()
    local client, far = peer()
    assert.same({ nil, "timeout" }, { client.socket:recv(1, 0.01) })
    far:close()
    assert.same({ nil, "closed" }, { client.socket:recv(1) })
    client, far = peer()
    far:reset()
    assert.same({ nil, "reset" }, { client.socket:recv(1) })
  end)

  it("stops sending at its deadline and says how far it came", function()
    local client <close>, far = peer()
    local ok, why, sent = client:send(("x"):rep(64 * 1024 * 1024), 0.05)
    assert.is_nil(ok)
    assert.equal("timeout", why)
    assert.is_true(sent > 0 and sent < 64 * 1024 * 1024)
    far:close()
  end)

  it("is named by poll when it has something", function()
    local a <close>, far_a = peer()
    local b <close>, far_b = peer("x")
    local ready = harness.poll({ a.socket, b.socket })
    assert.equal(1, #ready)
    assert.equal(b.socket, ready[1])
    far_a:close()
    far_b:close()
  end)
end)

describe("raw", function()
  it("decodes chunks, each with its time", function()
    local client <close>, far = peer(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: 1\r\nx: 2\r\n\r\n3\r\nabc\r\n")
    local response = assert(client:read_head())
    assert.equal("abc", client:read_chunk(response))
    local between = harness.now()
    far:send("A;ext=1\r\n0123456789\r\n0\r\n\r\nHTTP")
    while client:read_chunk(response) do end
    assert.is_true(response.complete)
    assert.same({ "1", "2" }, response.headers.x)
    assert.same({ "abc", "0123456789" }, { response.chunks[1].bytes, response.chunks[2].bytes })
    assert.is_true(response.chunks[1].at <= between and between <= response.chunks[2].at)
    assert.equal("HTTP", client.buffer)
    far:close()
  end)

  it("tells a body that was cut short from a whole one", function()
    local cuts = {
      { "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false },
      { "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true },
      { "Transfer-Encoding: chunked\r\n\r\n4\r\nabc\r\n0\r\n\r\n", false },
      { "Content-Length: 4\r\n\r\nabc", false },
      { "Content-Length: 3\r\n\r\nabc", true },
      { "\r\nabc", true },
    }
    for _, case in ipairs(cuts) do
      local client <close>, far = peer("HTTP/1.1 200 OK\r\n", case[1])
      far:close()
      assert.equal(case[2], assert(client:read_response()).complete, case[1])
    end
  end)

  it("takes a reset for the end of no body", function()
    local client <close>, far = peer("HTTP/1.0 200 OK\r\n\r\nabc")
    local response = assert(client:read_head())
    assert.equal("abc", client:read_chunk(response))
    far:reset()
    client:read_chunk(response)
    assert.same({ false, "reset" }, { response.complete, response.error })
  end)

  it("expects no body after HEAD, 204, 304 and 1xx", function()
    for status, options in pairs({ [204] = {}, [304] = {}, [100] = {}, [200] = { head = true } }) do
      local client <close>, far = peer(
        ("HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\nnext"):format(status))
      local response = assert(client:read_response(1, options))
      assert.same({ true, "" }, { response.complete, response.body })
      assert.equal("next", client.buffer)
      far:close()
    end
  end)
end)

describe("server", function()
  it("finds the reports of every sanitizer", function()
    for _, report in ipairs({
      "==1==ERROR: AddressSanitizer: heap-use-after-free on address",
      "==1==ERROR: LeakSanitizer: detected memory leaks",
      "core/a.c:1:2: runtime error: signed integer overflow",
      "WARNING: ThreadSanitizer: data race (pid=1)",
    }) do
      assert.is_string(server.sanitizer_report("a line\n" .. report .. "\nmore"))
    end
    assert.is_nil(server.sanitizer_report("error a handler raised: x\n"))
  end)
end)
