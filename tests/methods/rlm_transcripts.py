"""Replies of root models that misbehave, for tests that compare us with the official package.

Each transcript is a list of replies; the last one repeats. `End(expression)` becomes the way in
which a release ends: the `answer` dict, or a variable and FINAL_VAR. All must give the same answer
and the same number of requests; the messages of those in `OTHER_MESSAGES` differ.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class End:
    """Ends with the value of an expression."""

    expression: str


Reply = str | End


def code(*blocks: str) -> str:
    return "\n\n".join(f"```repl\n{text}\n```" for text in blocks)


OTHER_MESSAGES = {
    "no_block": "an empty message is sent as `(no text)`",
    "batch_with_an_empty_prompt": "an empty message is sent as `(no text)`",
}

READY = "answer['content'] = {!s}\nanswer['ready'] = True"
ALL = ("0.1.0", "0.1.1", "0.1.3")
TAGS = ("0.1.0", "0.1.1")
DICT = ("0.1.3",)


def replies(transcript: list[Reply], release: str) -> list[str]:
    """The transcript as a model of that release would write it."""
    found: list[str] = []
    for reply in transcript:
        if isinstance(reply, str):
            found.append(reply)
        elif release in DICT:
            found.append(code(READY.format(reply.expression)))
        else:
            found += [code(f"result = {reply.expression}"), "FINAL_VAR(result)"]
    return found


TRANSCRIPTS: dict[str, tuple[tuple[str, ...], list[Reply]]] = {
    # -- names of the harness
    "answer_is_a_reply": (DICT, [
        code("answer = llm_query('x')"), code(READY.format("str(type(answer).__name__)")),
    ]),
    "answer_as_loop_variable": (DICT, [
        code("for i, answer in enumerate(['a', 'b']):\n    print(i, answer)"),
        code(READY.format("'kept'")),
    ]),
    "answer_as_loop_variable_and_ready": (DICT, [
        code("for answer in ['a', 'b']:\n    pass\nanswer['content'] = 1"),
        code(READY.format("'later'")),
    ]),
    "answer_deleted": (DICT, [code("del answer"), code("print(answer)"), End("'back'")]),
    "answer_is_a_plain_dict": (DICT, [code("answer = {'content': [1, 'x'], 'ready': True}")]),
    "answer_is_a_plain_dict_later_ready": (DICT, [
        code("answer = {'content': 'x', 'other': 2}"),
        code("print(answer)\nanswer['ready'] = 1"),
    ]),
    "answer_is_a_plain_dict_then_raises": (DICT, [
        code("answer = {'content': 'lost', 'ready': True}\n1 / 0"), code("print(answer)"),
        code(READY.format("'end'")),
    ]),
    "answer_updated": (DICT, [
        code("answer.update({'content': 'x', 'ready': True})"), code("print(answer)"),
        code("answer['ready'] = True"),
    ]),
    "answer_merged": (DICT, [code("answer = answer | {'content': 'm', 'ready': 'yes'}")]),
    "answer_merged_in_place": (DICT, [
        code("answer |= {'content': 'm', 'ready': True}"), code("answer['ready'] = True"),
    ]),
    "answer_copied": (DICT, [
        code("answer = answer.copy()\nanswer['content'] = 'c'\nanswer['ready'] = True"),
    ]),
    "answer_is_a_text": (DICT, [code("answer = '42'"), code("answer = 42\nprint(answer)")]),
    "content_after_ready": (DICT, [code("answer['ready'] = True\nanswer['content'] = 'late'")]),
    "content_changed_after_ready": (DICT, [
        code("answer['content'] = 'first'\nanswer['ready'] = True\nanswer['content'] = 'second'"),
    ]),
    "ready_twice": (DICT, [
        code("answer['content'] = 'a'\nanswer['ready'] = True\nanswer['content'] = 'b'\n"
             "answer['ready'] = True"),
    ]),
    "ready_then_raises": (DICT, [code(READY.format("'kept'") + "\nprint(nothing_here)")]),
    "ready_is_false": (DICT, [
        code("answer['content'] = 1\nanswer['ready'] = False"), code("answer['ready'] = 'False'"),
    ]),
    "ready_in_a_function": (DICT, [
        code("def submit(x):\n    answer['content'] = x\n    answer['ready'] = True"),
        code("submit({'a': (1, 2)})"),
    ]),
    "ready_by_an_old_function": (DICT, [
        code("def submit(x):\n    answer['content'] = x\n    answer['ready'] = True"),
        code("answer = {}"), code("submit('into the old dict')"), End("'new'"),
    ]),
    "ready_in_a_thread": (DICT, [
        code("import threading\ndef go():\n    answer['content'] = 't'\n"
             "    answer['ready'] = True\nt = threading.Thread(target=go)\nt.start()\nt.join()"),
    ]),
    "content_is_none": (DICT, [code("answer['content'] = None\nanswer['ready'] = True")]),
    "content_is_empty": (DICT, [code("answer['ready'] = True")]),
    "two_blocks_two_answers": (DICT, [
        code(READY.format("'one'"), "print('still runs')\nllm_query('sub')", READY.format("'two'")),
    ]),
    "ready_in_one_block_raises_in_the_next": (DICT, [code(READY.format("'one'"), "1 / 0")]),
    "thought_with_a_block": (DICT, [
        "<think>\nLet me try\n" + code(READY.format("'thought'")) + "\n</think>\nDone.",
    ]),
    "thought_before_a_block": (ALL, [
        "<think>I should look at FINAL(1) first.</think>\n" + code("n = len(context)\nprint(n)"),
        "<think>\nFINAL_VAR(n)\n</think>\nNow:\n" + code("print(n + 1)"), End("n"),
    ]),
    "unclosed_thought": (ALL, ["<think>\n" + code("x = 5\nprint(x)"), End("x")]),
    "context_cut": (ALL, [
        code("context = context[:10]\nprint(len(context))"), code("print(len(context))"),
        End("len(context)"),
    ]),
    "context_cut_then_raises": (ALL, [
        code("context = context[:10]\nprint(len(context))\n1 / 0"), End("len(context)"),
    ]),
    "context_deleted": (ALL, [code("del context"), End("len(context)")]),
    "context_is_a_loop_variable": (ALL, [
        code("for context in ['a', 'b']:\n    pass"), End("str(context)[:5]"),
    ]),
    "context_zero_overwritten": (ALL, [
        code("context_0 = 'mine'"), code("print(context[:4])"), End("context[:4]"),
    ]),
    "history_zero": (ALL, [
        code("history = [1]\nhistory_0 = [2]"), code("print(history)"), End("str(history)"),
    ]),
    "helpers_overwritten": (ALL, [
        code("llm_query = 'x'\nSHOW_VARS = None\nprint(llm_query)"),
        code("print(llm_query('again'))\nprint(SHOW_VARS())"), End("llm_query('end')"),
    ]),
    "helpers_overwritten_then_raises": (ALL, [
        code("llm_query = 'x'\nraise ValueError('no')"), End("llm_query('end')"),
    ]),
    "helper_shadowed_in_a_function": (ALL, [
        code("def llm_query(prompt):\n    return 'mine'\nprint(llm_query('a'))"),
        End("llm_query('b')"),
    ]),
    "helper_used_by_an_old_function": (ALL, [
        code("def ask(x):\n    return llm_query(x)\nllm_query = len"),
        End("ask('four')"),
    ]),
    "list_shadowed": (ALL, [
        code("list = [1, 2]\nstr = 'x'\nprint(list, str)"),
        code("print(list)\nlist = None"), End("list"),
    ]),
    # -- what lasts from block to block
    "variable_deleted": (ALL, [code("x = 1"), code("del x"), code("print(x)"), End("x")]),
    "underscore_does_not_last": (ALL, [code("_x = 1\n__y = 2\nprint(_x)"), code("print(_x)"),
                                       End("'z'")]),
    "raising_block_loses_names": (ALL, [
        code("kept = []"), code("kept.append(1)\nlost = 2\nraise KeyError('k')"),
        code("print(kept)\nprint(lost)"), End("len(kept)"),
    ]),
    "function_sees_its_own_block": (ALL, [
        code("x = 1\ndef get():\n    return x"), code("x = 2\nprint(get())"), End("get()"),
    ]),
    "function_with_global": (ALL, [
        code("count = 0\ndef up():\n    global count\n    count += 1\n    return count"),
        code("print(up(), up(), count)"), End("count"),
    ]),
    "generator_lasts": (ALL, [
        code("g = (i * i for i in range(5))\nprint(next(g))"), code("print(next(g))"),
        End("next(g)"),
    ]),
    "raises_at_the_first_line": (ALL, [code("oops(\nprint('a')"), End("'s'")]),
    "raises_in_each_block": (ALL, [
        code("a = 1\nraise ValueError", "b = 2\nint('x')", "print(b)"), End("'done'"),
    ]),
    "raises_with_no_message": (ALL, [code("raise RuntimeError"), code("assert 1 == 2"), End("1")]),
    "raises_a_group_of_lines": (ALL, [code("raise ValueError('one\\ntwo')"), End("1")]),
    "exception_caught": (ALL, [
        code("try:\n    1 / 0\nexcept Exception as e:\n    err = e\n    print(type(e), e)"),
        code("print(repr(err))"), End("1"),
    ]),
    "exception_name_is_missing": (ALL, [
        code("try:\n    1 / 0\nexcept ZeroDivisionError:\n    print('caught')"), End("1"),
    ]),
    "traceback_printed": (ALL, [
        code("import traceback\ntry:\n    int('q')\nexcept ValueError:\n    traceback.print_exc()\n"
             "    print(traceback.format_exc())"), End("1"),
    ]),
    "recursion_error": (ALL, [code("def f(n):\n    return f(n + 1)\nf(0)"), End("1")]),
    "memory_of_stderr": (ALL, [
        code("import sys\nprint('to stderr', file=sys.stderr)\nprint('out')"),
        code("import sys\nsys.stdout.write('no newline')\nsys.stderr.write('x')\nq"), End("1"),
    ]),
    "warnings": (ALL, [
        code("import warnings\nwarnings.warn('careful')\nprint(1 is 1)"),
        code("import re\nprint(re.findall('\\d+', 'a1'))"), End("1"),
    ]),
    "stdout_has_no_buffer": (ALL, [
        code("import sys\nsys.stdout.reconfigure(encoding='utf-8')"),
        code("import sys\nsys.stdout.buffer.write(b'x')"),
        code("import sys\nprint(sys.stdout.encoding, sys.stdout.isatty())"), End("1"),
    ]),
    "stdout_closed": (ALL, [code("import sys\nsys.stdout.close()"), End("1")]),
    "stdout_replaced": (ALL, [
        code("import sys, io\nprint('a')\nsys.stdout = io.StringIO()\nprint('b')"),
        code("print('c')"), End("1"),
    ]),
    "logging": (ALL, [
        code("import logging\nlogging.warning('w')\nlogging.basicConfig(level=20)\n"
             "logging.info('i')"),
        code("logging.info('not shown')\nprint('p')"), End("1"),
    ]),
    # -- what the package takes away
    "class": (ALL, [code("class A:\n    x = 1"), End("1")]),
    "eval_and_exec": (ALL, [
        code("eval('1')"), code("exec('x = 1')"), code("compile('1', 'a', 'eval')"), End("1"),
    ]),
    "globals_and_locals": (ALL, [
        code("print('x' in globals())"), code("locals()['x'] = 1"),
        code("vars()['made'] = 1"), code("print(made)"), End("made"),
    ]),
    "input": (ALL, [code("name = input('Which?')"), End("1")]),
    "exit_is_no_name": (ALL, [code("print('a')\nexit()"), code("quit()"), End("1")]),
    "names_without_a_builtin": (ALL, [
        code("frozenset([1])"), code("raise SystemExit"), code("raise KeyboardInterrupt"),
        code("Ellipsis"), code("print(...)"), code("help(len)"), End("1"),
    ]),
    "builtins_module": (ALL, [
        code("import builtins\nprint(builtins.eval('6 * 7'))\nprint(type(__builtins__).__name__)"),
        code("__builtins__['frozenset'] = set\nprint(frozenset([1]))"),
        code("print(frozenset([2]))"), End("1"),
    ]),
    "harness_names_are_not_there": (ALL, [
        code("SubCallError"), code("FINAL('x')"), code("Final = 3\nprint(Final)"), End("1"),
    ]),
    "sys_exit": (ALL, [code("print('bye')\nimport sys\nsys.exit(0)"), End("1")]),
    "sys_exit_after_ready": (DICT, [code(READY.format("'x'") + "\nimport sys\nsys.exit()")]),
    "base_exception": (ALL, [code("raise BaseException('b')"), End("1")]),
    "keyboard_interrupt": (ALL, [
        code("import builtins\nraise builtins.KeyboardInterrupt"), End("1"),
    ]),
    "sys_exit_caught": (ALL, [
        code("import sys\ntry:\n    sys.exit(1)\nexcept BaseException as e:\n    print(repr(e))"),
        End("1"),
    ]),
    "missing_package": (ALL, [
        code("import numpy as np"), code("from no.such import thing"),
        code("from math import nothing_here"), End("1"),
    ]),
    "imports_last": (ALL, [
        code("import re, json, math\nfrom collections import Counter, defaultdict"),
        code("c = Counter('aab')\nd = defaultdict(list)\nd[1].append(2)\nprint(c, SHOW_VARS())"),
        End("json.dumps(c)"),
    ]),
    "namedtuple_and_dataclass": (ALL, [
        code("from collections import namedtuple\nP = namedtuple('P', 'x y')\np = P(1, 2)"),
        code("print(p)\nfrom dataclasses import make_dataclass as m\nprint(m('D', ['x'])(1))"),
        code("T = type('T', (), {'x': 1})\nt = T()\nprint(t.x, T.__name__)"), End("p"),
    ]),
    "main_guard": (ALL, [
        code("def main():\n    print('ran')\nif __name__ == '__main__':\n    main()"), End("1"),
    ]),
    "top_level_await": (ALL, [
        code("import asyncio\nawait asyncio.sleep(0)"),
        code("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 3\n"
             "print(asyncio.run(f()))"), End("1"),
    ]),
    "threads_that_ask": (ALL, [
        code("from concurrent.futures import ThreadPoolExecutor\n"
             "with ThreadPoolExecutor(4) as pool:\n"
             "    found = list(pool.map(llm_query, [f'p{i}' for i in range(6)]))\nprint(found)"),
        End("found"),
    ]),
    "return_at_the_top": (ALL, [code("x = 1\nreturn x"), code("yield 1"), End("1")]),
    "tabs_and_spaces": (ALL, [code("if True:\n\tx = 1\n        y = 2"), code("  x = 1\n y = 2"),
                             End("1")]),
    "comment_only": (ALL, [code("# nothing to do"), code("'just a text'\n42"), End("1")]),
    "files": (ALL, [
        code("with open('note.txt', 'w') as h:\n    h.write('hi')\nprint(open('note.txt').read())"),
        code("import os\nos.chdir('/')\nprint(os.path.exists('note.txt'))"),
        code("print(open('note.txt').read())\nprint(open('missing.txt'))"), End("1"),
    ]),
    "closed_file_of_the_loader": (ALL, [code("print(type(f).__name__, f.closed)"),
                                        code("f = 5\nprint(f)"), End("f")]),
    "show_vars": (ALL, [
        code("x = 1\nprint(SHOW_VARS())"), code("def g():\n    pass\nprint(SHOW_VARS())"),
        code("print(SHOW_VARS())[0]"), End("1"),
    ]),
    "helper_called_wrongly": (ALL, [
        code("llm_query()"), code("llm_query('a', 'b', 'c')"), code("llm_query(text='a')"),
        code("llm_query_batched()"), End("1"),
    ]),
    # -- prompts
    "prompt_is_empty": (ALL, [code("r = llm_query('')\nprint(r)\nprint(llm_query(None))"),
                              End("r")]),
    "prompt_is_no_text": (ALL, [
        code("print(llm_query(5))"), code("print(llm_query({'a': 1}))"),
        code("print(llm_query(['a', 'b']))"), code("print(llm_query({1, 2}))"), End("1"),
    ]),
    "prompt_is_a_chat": (ALL, [
        code("print(llm_query([{'role': 'system', 'content': 'Be brief.'}, "
             "{'role': 'user', 'content': 'Hi'}]))"), End("1"),
    ]),
    "question_as_second_argument": (ALL, [
        code("print(llm_query(context[:20], 'What is this?'))"), End("1"),
    ]),
    "model_named": (ALL, [code("print(llm_query('hi', model='root'))\nprint(llm_query('a', ''))"),
                          End("1")]),
    "batch_is_a_text": (ALL, [code("print(llm_query_batched('abc'))"), End("1")]),
    "batch_is_empty": (ALL, [
        code("print(llm_query_batched([]), llm_query_batched(''), llm_query_batched(()))"),
        End("1"),
    ]),
    "batch_is_a_tuple": (ALL, [code("print(llm_query_batched(('a', 'b')))"), End("1")]),
    "batch_is_a_dict": (ALL, [code("print(llm_query_batched({'k': 1, 'm': 2}))"), End("1")]),
    "batch_is_a_generator": (ALL, [
        code("print(llm_query_batched(f'q{i}' for i in range(3)))"),
        code("print(llm_query_batched({'a', 'b'}))"), code("llm_query_batched(None)"), End("1"),
    ]),
    "batch_with_an_empty_prompt": (ALL, [code("print(llm_query_batched(['', 'b']))"), End("1")]),
    "batch_with_a_number": (DICT, [code("print(llm_query_batched([1, 'b']))"), End("1")]),
    # Not against the package itself: its second batch loses replies to a closed event loop.
    "two_batches": ((), [
        code("print(llm_query_batched(['a', 'b']))"),
        code("print(llm_query_batched(['c', 'd']))\nanswer['content'] = 2\nanswer['ready'] = True"),
    ]),
    "rlm_query_at_the_limit": (("0.1.1", "0.1.3"), [
        code("print(rlm_query('part'))\nprint(rlm_query(context[:5], 'question?'))"),
        code("print(rlm_query_batched(['a', 'b']))\nprint(rlm_query(['x']))"), End("1"),
    ]),
    "rlm_query_in_the_first_release": (("0.1.0",), [code("rlm_query('part')"), End("1")]),
    # -- output
    "megabytes": (ALL, [code("print('y' * 3_000_000)\nz = 1"), code("print(context * 40)"),
                        End("1")]),
    "megabytes_then_raises": (ALL, [code("print('y' * 1_500_000)\nnope"), End("1")]),
    "many_lines": (ALL, [code("for i in range(9000):\n    print(i)"), End("1")]),
    "just_over_the_cut": (ALL, [
        code("print('y' * 19_950)"), code("print('y' * 19_930)"), End("1"),
    ]),
    "unicode": (ALL, [
        code("größe = 'naïve 中文 🎉'\nprint(größe, len(größe))\nname = 'e\\u0301'\nprint(name)"),
        code("print('\\x00\\x1b[1m tab\\there\\r\\nend')"), code("print(ascii(größe))"),
        End("größe"),
    ]),
    "windows_lines": (ALL, ["```repl\r\nx = 1\r\nprint(x)\r\n```", code("print('a\\r\\nb')"),
                            End("1")]),
    "nothing_printed": (ALL, [code("x = [1]\ny = (1,)\nz = {1}\nw = None\nv = True\nb = b'1'"),
                              End("1")]),
    "print_without_newline": (ALL, [code("print('a', end='')", "print()"), End("1")]),
    # -- blocks
    "no_block": (ALL, ["I am not sure.", "", "Let me think `code` more.", End("1")]),
    "python_fence": (ALL, ["```python\nprint(1)\n```", "```\nprint(2)\n```", End("1")]),
    "fence_with_words": (ALL, ["```repl python\nprint(1)\n```", "``` repl\nprint(2)\n```",
                               "```REPL\nprint(3)\n```", End("1")]),
    "unclosed_fence": (ALL, ["```repl\nprint(1)", "Text\n```repl\nprint(2)\n\n", End("1")]),
    "unclosed_then_another": (ALL, ["```repl\nprint(1)\n\n```repl\nprint(2)\n```", End("1")]),
    "fence_on_the_last_line": (ALL, ["```repl\nprint(1)```", "```repl\nx = 2\nprint(x) ```",
                                     End("1")]),
    "fence_in_a_string": (ALL, [
        "```repl\np = '''Look:\n```\nraw\n```\n'''\nprint(p)\n```", End("1"),
    ]),
    "indented_fence": (ALL, ["1. First:\n   ```repl\n   x = 1\n   print(x)\n   ```", End("1")]),
    "four_backticks": (ALL, ["````repl\nprint(1)\n````", "~~~repl\nprint(2)\n~~~", End("1")]),
    "empty_block": (ALL, ["```repl\n\n```", "```repl\n```", End("1")]),
    "many_blocks": (ALL, [code(*(f"v{i} = {i}\nprint(v{i})" for i in range(8))), End("v7")]),
    "output_written_by_the_model": (ALL, [
        code("x = 1") + "\n\nREPL output:\n```\n77\n```\n" + code("print(x)"), End("x"),
    ]),
    # -- FINAL
    "final_in_a_comment": (TAGS, [code("x = 1  # FINAL(x)"), code("# FINAL(2)\nx = 2"),
                                  code("y = 1\n  # then\nFINAL(3)")]),
    "final_in_a_string": (TAGS, [code("s = 'FINAL(1)'\nprint('''\nFINAL(two)\n''')")]),
    "final_in_an_f_string": (TAGS, [code("x = 4\nprint(f'''\nFINAL({x})\n''')")]),
    "final_in_the_output": (TAGS, [code("print('FINAL(7)')"), "FINAL(8)"]),
    "final_printed_by_code": (TAGS, [
        code("best = 5\nprint(FINAL_VAR('best'))"), "FINAL_VAR(best)",
    ]),
    "final_var_in_its_own_block": (TAGS, [code("best = 5\nFINAL_VAR('best')"), "FINAL(6)"]),
    "final_var_in_a_later_block": (TAGS, [code("best = 5"), code("a = 1\nx = FINAL_VAR('best')"),
                                          "FINAL(6)"]),
    "final_var_of_a_value": (TAGS, [code("x = FINAL_VAR(41 + 1)"), "FINAL(6)"]),
    "final_var_of_an_empty_text": (TAGS, [code("e = ''"), code("x = FINAL_VAR('e')"),
                                          "FINAL_VAR(e)", "FINAL(6)"]),
    "final_var_unknown": (TAGS, [code("x = 1"), "FINAL_VAR(no_such)", "FINAL(7)"]),
    "final_var_of_an_expression": (TAGS, [code("d = {'k': 1}"), "FINAL_VAR(d['k'])", "FINAL(7)"]),
    "final_var_quoted": (TAGS, [code("v = ' padded\\n'"), "FINAL_VAR(\"v\")"]),
    "final_var_of_the_context": (TAGS, ["FINAL_VAR(context)"]),
    "final_var_of_a_list": (TAGS, [code("v = [1, 'a', None]"), "So:\n  FINAL_VAR(v) is it"]),
    "final_var_of_a_function": (TAGS, [code("def v():\n    pass\nw = str"), "FINAL_VAR(w)"]),
    "final_var_of_a_helper": (TAGS, ["FINAL_VAR(llm_query)", "FINAL(7)"]),
    "final_var_of_a_lost_name": (TAGS, [code("v = 3\n1 / 0"), "FINAL_VAR(v)", "FINAL(7)"]),
    "final_with_brackets": (TAGS, ["FINAL(f(1) and (2))\nThat is (all)."]),
    "final_inline": (TAGS, ["The answer is FINAL(3).", "I return FINAL_VAR(x) now.", "FINAL(4)"]),
    "final_of_a_variable": (TAGS, [code("best = 5"), "FINAL(best)"]),
    "final_and_a_block": (TAGS, ["FINAL(9)\n" + code("llm_query('x')\nprint('ran')")]),
    "final_in_a_thought": (TAGS, ["<think>\nFINAL(maybe)\n</think>\nNo."]),
    "final_empty": (TAGS, ["FINAL()"]),
    "final_after_an_exit": (TAGS, [code("import sys\nsys.exit()") + "\nFINAL(1)"]),
    "turns_run_out": (ALL, ["Hm.", "<think>x</think> The end."]),
    "final_in_the_third_release": (DICT, ["FINAL(5)", code("FINAL_VAR('x')"),
                                          code("x = 1\nanswer['content'] = x"), End("x")]),
    # -- the package's own traces
    "context_as_a_file": (ALL, [
        code("import os\nprint(os.listdir('.'))"),
        code("print(len(open('context_0.txt').read()))"),
        code("h = open('context_0.txt').read()"), End("h[:9]"),
    ]),
    "print_is_a_variable": (TAGS, [code("v = 7\nprint = 'x'"), "FINAL_VAR(v)", "FINAL(8)"]),
    "print_is_a_function": (TAGS, [
        code("v = 7\ndef print(*a, **k):\n    pass"), code("print('x')"), "FINAL_VAR(v)",
        "FINAL(8)",
    ]),
    "str_of_the_variable_fails": (TAGS, [
        code("def bad(self):\n    raise ValueError('no')\nv = type('T', (), {'__str__': bad})()"),
        "FINAL_VAR(v)", "FINAL(8)",
    ]),
    "scaffold_called_wrongly": (TAGS, [code("SHOW_VARS('x')"), code("FINAL_VAR()"), "FINAL(8)"]),
    "answer_copied_deeply": (DICT, [code("import copy\ncopy.deepcopy(answer)"), End("1")]),
    "answer_is_an_exception": (DICT, [
        code("try:\n    1 / 0\nexcept Exception as answer:\n    print(answer)"),
        code("print(answer)"), End("'e'"),
    ]),
    "answer_rebound_by_a_function": (DICT, [
        code("def go():\n    global answer\n    answer = {'content': 'g', 'ready': True}"),
        code("go()\nprint(answer)"), End("'e'"),
    ]),
    "ready_then_a_plain_dict": (DICT, [
        code(READY.format("'a'") + "\nanswer = {'content': 'b', 'ready': True}"),
    ]),
    "final_in_markdown": (TAGS, [
        "**FINAL(5)**", "> FINAL(5)", "`FINAL(5)`", "FINAL (5)", "FINAL: 5", "FINAL(8)",
    ]),
    "final_of_many_lines": (TAGS, ["FINAL(line one\nline (two)\n)\n\nThanks (bye)"]),
    "final_var_of_odd_names": (TAGS, [
        code("x = 1"), "FINAL_VAR(x\"y)", "FINAL_VAR(`x`)", "FINAL_VAR()", "FINAL_VAR(x, y)",
        "FINAL(8)",
    ]),
    "fences_joined": (ALL, [
        "```repl\nprint(1)\n``````repl\nprint(2)\n```", "Text ```repl\nprint(3)\n``` text",
        End("1"),
    ]),
    "odd_code": (ALL, [
        "```repl\nprint('a\x00b')\n```", code("x = " + "(" * 250 + "1" + ")" * 250),
        code("print(10 ** 5000)"), code("!ls"), code(">>> print(1)"), End("1"),
    ]),
}  # fmt: skip

KID = [code("print(type(context).__name__)"), End("'kid:' + str(context)[:40]")]
"""A child that says what it got."""


def _asks(expression: str, child: list[Reply] = KID) -> tuple[list[Reply], list[Reply]]:
    """The root's and the child's replies: the root submits what `rlm_query` gave it."""
    return [code(f"z = {expression}\nprint(z)"), End("z")], child


CHILD_TRANSCRIPTS: dict[str, tuple[list[Reply], list[Reply]]] = {
    # -- odd prompts
    "tuple": _asks("rlm_query(('a', 'b'))"),
    "number": _asks("rlm_query(5)"),
    "none": _asks("rlm_query(None)"),
    "bytes": _asks("rlm_query(b'abc')"),
    "set": _asks("rlm_query({'a'})"),
    "keys": _asks("rlm_query({'a': 1}.keys())"),
    "empty": _asks("rlm_query('')"),
    "list": _asks("rlm_query(['a', 'bb'])"),
    "list_empty": _asks("rlm_query([])"),
    "list_of_numbers": _asks("rlm_query([1, 2])"),
    "list_of_lists": _asks("rlm_query([['a'], ['b']])"),
    "list_of_dicts": _asks("rlm_query([{'a': 1}, 'bcd'])"),
    "messages": _asks("rlm_query([{'role': 'user', 'content': 'hi'}])"),
    "message_then_text": _asks("rlm_query([{'content': 'hi'}, 'a'])"),
    "dict": _asks("rlm_query({'a': 'bb', 'c': [1]})"),
    "dict_with_number_keys": _asks("rlm_query({1: 'a'})"),
    "dict_with_tuple_keys": _asks("rlm_query({(1, 2): 'a'})"),
    "dict_of_100": _asks("rlm_query({str(n): n for n in range(100)})"),
    "circular": _asks("(lambda x: x.append(x) or rlm_query(x))(['a'])"),
    "wrong_name": _asks("rlm_query(context='x')"),
    # -- odd batches
    "batch_of_values": _asks("rlm_query_batched({'k': 'aa', 'm': 'bb'}.values())"),
    "batch_of_keys": _asks("rlm_query_batched({'aa': 1, 'bb': 2}.keys())"),
    "batch_of_a_set": _asks("rlm_query_batched({'aa'})"),
    "batch_of_a_generator": _asks("rlm_query_batched(p for p in ['aa', 'bb'])"),
    "batch_of_a_map": _asks("rlm_query_batched(map(str, [1, 2]))"),
    "batch_of_a_text": _asks("rlm_query_batched('ab')"),
    "batch_of_none": _asks("rlm_query_batched(None)"),
    "batch_of_odd_prompts": _asks("rlm_query_batched([5, 'a', ('b',), None, ['c'], b'd'])"),
    "batch_without_a_good_prompt": _asks("rlm_query_batched([5, None])"),
    "batch_empty": _asks("rlm_query_batched([])"),
    # -- children
    "out_of_turns": _asks("rlm_query('p')", ["I do not know."]),
    "raises": _asks("rlm_query('p')", [code("1 / 0"), code("print(llm_query('s'))"), End("'c'")]),
    "answers_a_list": _asks("type(rlm_query('p')).__name__", [End("[1, 2]")]),
    "calls_deeper": _asks("rlm_query('p')", [code("y = rlm_query('deeper')"), End("y")]),
    "calls_deeper_oddly": _asks("rlm_query('p')", [
        code("y = [rlm_query(x) for x in (('a',), None, 5, {'k': 1}, ['a'], b'x')]\nprint(y)"),
        code("y += rlm_query_batched(['a', 5, ('b',)])"),
        code("y += [rlm_query([{'role': 'user', 'content': 'hi'}])]\nprint(y)"), End("y"),
    ]),
}  # fmt: skip
"""The same for a depth of 2, for the releases with children; a child's last reply repeats."""
