-- summary.lua - Busted's output for CI: what went wrong, and at last "N passed, N failed".
-- Errors outside a test count as failures, and so does a run without a test.
local busted = require("busted")
local base = require("busted.outputHandlers.base")

local SLOW = 1.0 -- seconds: tests that take longer are named, lest they creep in

local function text_of(message)
  return type(message) == "string" and message or require("pl.pretty").write(message)
end

local function describe(problem)
  local trace = problem.trace or (problem.element and problem.element.trace) or {}
  local where = trace.short_src or ""
  if trace.currentline then where = ("%s:%d: "):format(where, trace.currentline) end
  io.write(("\nFAILED %s%s\n"):format(where, problem.name or "?"))
  io.write("  ", (text_of(problem.message):gsub("\n", "\n  ")), "\n")
  if problem.isError and trace.traceback then
    io.write("  ", (trace.traceback:gsub("^\n+", ""):gsub("\n", "\n  ")), "\n")
  end
end

return function(options)
  local handler = base()
  local passed, failed, pending = 0, 0, 0
  local file_name, file_passed

  local function fail(problem)
    failed = failed + 1
    describe(problem)
    io.flush()
  end

  local function on_file_start(file)
    file_name, file_passed = file.name, passed
    return nil, true
  end

  local function on_file_end()
    io.write(("%4d  %s\n"):format(passed - file_passed, file_name))
    io.flush()
    return nil, true
  end

  local function on_test_end(element, _, status)
    if status == "success" then
      passed = passed + 1
    elseif status == "pending" then
      pending = pending + 1
      io.write("PENDING ", handler.getFullName(element), "\n")
    else
      local list = status == "failure" and handler.failures or handler.errors
      fail(list[#list])
    end
    if element.duration and element.duration > SLOW then
      io.write(("SLOW %.1f s  %s\n"):format(element.duration, handler.getFullName(element)))
    end
    return nil, true
  end

  local function on_error(element)
    if element.descriptor ~= "it" then fail(handler.errors[#handler.errors]) end
    return nil, true
  end

  local function on_suite_end()
    if passed + failed + pending == 0 then
      busted.publish({ "error" }, { descriptor = "suite", name = "suite" }, nil, "no test ran", {})
    end
    return nil, true
  end

  -- At exit, since an error may come after the suite's end.
  local function on_exit()
    local skipped = pending > 0 and (", %d skipped"):format(pending) or ""
    io.write(("\n%d passed, %d failed%s\n"):format(passed, failed, skipped))
    io.flush()
    return nil, true
  end

  local subscribe_base = handler.subscribe
  function handler.subscribe(self)
    subscribe_base(self, options)
    busted.subscribe({ "file", "start" }, on_file_start)
    busted.subscribe({ "file", "end" }, on_file_end)
    busted.subscribe({ "test", "end" }, on_test_end, { predicate = self.cancelOnPending })
    busted.subscribe({ "error" }, on_error)
    busted.subscribe({ "failure" }, on_error)
    busted.subscribe({ "suite", "end" }, on_suite_end)
    busted.subscribe({ "exit" }, on_exit)
  end

  return handler
end
