/*
 * Scripts for shells, made from the tables. See shells.h. Each is some functions that are written here, and rows that come
 * from the verbs, their options, and what the words of their usage stand for (words.h).
 */
#include "mpsup/shells.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "mpsup/cmd.h"
#include "mpsup/words.h"

/* The letter of all[i], 0 where it has none or another option before it has it. */
static char letter_of(const struct cmd_option *const *all, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (all[k]->letter == all[i]->letter)
			return 0;
	return all[i]->letter;
}

/* Calls f for what may stand before a verb (cmd NULL) and for each verb that help lists. */
static void each_cmd(void (*f)(struct buf *out, const struct cmd *cmd), struct buf *out)
{
	f(out, NULL);
	for (size_t i = 0; cmds[i] != NULL; i++)
		if (!(cmds[i]->flags & CMD_HIDDEN))
			f(out, cmds[i]);
}

/* In single quotes; `special` characters get a backslash within. */
static void add_quoted(struct buf *out, const char *text, const char *special, const char *quote)
{
	buf_addc(out, '\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'') {
			buf_adds(out, quote);
			continue;
		}
		if (strchr(special, *text) != NULL)
			buf_addc(out, '\\');
		buf_addc(out, *text);
	}
	buf_addc(out, '\'');
}

static const char *name_of(const struct cmd *cmd)
{
	return cmd != NULL ? cmd->name : "";
}

/* A blank and the option as it is typed, for each of its forms. */
static void add_forms(struct buf *out, const struct cmd_option *const *all, size_t i)
{
	if (letter_of(all, i) != 0)
		buf_addf(out, " -%c", all[i]->letter);
	buf_addf(out, " --%s", all[i]->name);
}

/* ----------------------------------------------------------------------------------------------------- bash */

static void bash_options(struct buf *out, const struct cmd *cmd)
{
	const struct cmd_option *all[CMD_OPTIONS_MAX];
	size_t n = cmd_list_options(cmd, all);

	buf_addf(out, "  '%s') printf '%%s\\n'", name_of(cmd));
	for (size_t i = 0; i < n; i++)
		add_forms(out, all, i);
	buf_adds(out, " ;;\n");
}

/* Free text is a TEXT: of that there is no list. */
static void bash_values(struct buf *out, const struct cmd *cmd)
{
	const struct cmd_option *all[CMD_OPTIONS_MAX];
	size_t n = cmd_list_options(cmd, all);

	for (size_t i = 0; i < n; i++) {
		const struct word_kind *kind = all[i]->arg != NULL ? word_kind_of(all[i]) : NULL;

		if (all[i]->arg == NULL)
			continue;
		buf_adds(out, "  ");
		if (letter_of(all, i) != 0)
			buf_addf(out, "%s:-%c | ", name_of(cmd), all[i]->letter);
		buf_addf(out, "%s:--%s) echo %s ;;\n", name_of(cmd), all[i]->name,
			 kind != NULL ? kind->name : "TEXT");
	}
}

static void bash_words(struct buf *out, const struct cmd *cmd)
{
	const struct word_kind *kind;
	const char *at;
	bool repeats;

	if (cmd == NULL) {
		buf_adds(out, "  :*) echo VERB ;;\n");
		return;
	}
	at = cmd->args;
	for (unsigned i = 0; word_next(cmd, &at, &kind, &repeats); i++) {
		if (kind == NULL)
			continue;
		if (repeats)
			buf_addf(out, "  %s:*) echo %s ;;\n", cmd->name, kind->name);
		else
			buf_addf(out, "  %s:%u) echo %s ;;\n", cmd->name, i, kind->name);
	}
}

/* A function whose body is a case over its arguments. */
static void bash_function(struct buf *out, const char *head,
			  void (*rows)(struct buf *out, const struct cmd *cmd))
{
	buf_addf(out, "\n%s\n", head);
	each_cmd(rows, out);
	buf_adds(out, "  esac\n}\n");
}

static const char bash_main[] =
	"_mpsup() {\n"
	"  local line=${COMP_LINE:0:COMP_POINT} verb='' option='' kind='' n=0 i word cur\n"
	"  local -a words=() at=()\n"
	"  COMPREPLY=()\n"
	"  # Not COMP_WORDS, in which names are cut at their colons.\n"
	"  read -ra words <<<\"$line\"\n"
	"  [[ $line != *[[:blank:]] ]] || words+=('')\n"
	"  cur=${words[${#words[@]} - 1]}\n"
	"  for ((i = 1; i < ${#words[@]} - 1; i++)); do\n"
	"    word=${words[i]}\n"
	"    if [[ -n $option ]]; then\n"
	"      case $option in -c | --config | -s | --socket) at+=(\"$option\" "
	"\"${word/#~\\//$HOME/}\") ;; esac\n"
	"      option=\n"
	"    elif [[ $word == -* ]]; then\n"
	"      case $word in --config=* | --socket=*) at+=(\"$word\") ;; esac\n"
	"      [[ -z $(_mpsup_value \"$verb\" \"$word\") ]] || option=$word\n"
	"    elif [[ -z $verb ]]; then\n"
	"      verb=$word\n"
	"    else\n"
	"      n=$((n + 1))\n"
	"    fi\n"
	"  done\n"
	"  if [[ -n $option ]]; then\n"
	"    kind=$(_mpsup_value \"$verb\" \"$option\")\n"
	"  elif [[ $cur == --*=* ]]; then\n"
	"    kind=$(_mpsup_value \"$verb\" \"${cur%%=*}\")\n"
	"    cur=${cur#*=}\n"
	"  elif [[ $cur == -* ]]; then\n"
	"    kind=OPTION\n"
	"  else\n"
	"    kind=$(_mpsup_word \"$verb\" \"$n\")\n"
	"  fi\n"
	"  case $kind in\n"
	"  FILE | PATH)\n"
	"    compopt -o filenames 2>/dev/null\n"
	"    while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen -f -- \"$cur\")\n"
	"    return\n"
	"    ;;\n"
	"  esac\n"
	"  # Not compgen -W, which would carry out a $(command) in a name.\n"
	"  while IFS= read -r word; do\n"
	"    [[ $word != \"$cur\"* ]] || COMPREPLY+=(\"$word\")\n"
	"  done < <(\n"
	"    case $kind in\n"
	"    NAME) \"${words[0]/#~\\//$HOME/}\" completion names \"${at[@]}\" 2>/dev/null ;;\n"
	"    OPTION) _mpsup_options \"$verb\" ;;\n"
	"    *) _mpsup_list \"$kind\" ;;\n"
	"    esac\n"
	"  )\n"
	"  # What stands before the last colon is a word of its own to readline.\n"
	"  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then\n"
	"    word=${cur%\"${cur##*:}\"}\n"
	"    COMPREPLY=(\"${COMPREPLY[@]#\"$word\"}\")\n"
	"  fi\n"
	"}\n"
	"complete -F _mpsup mpsup\n";

void shells_add_bash(struct buf *out)
{
	bash_function(out,
		      "_mpsup_options() { # verb, '' = what stands before it: its options\n"
		      "  case $1 in",
		      bash_options);
	bash_function(out,
		      "_mpsup_value() { # verb, option: what its value is; nothing: it has none\n"
		      "  case $1:$2 in",
		      bash_values);
	bash_function(out,
		      "_mpsup_word() { # verb, number of a word behind it: what it is\n"
		      "  case $1:$2 in",
		      bash_words);
	buf_adds(out, "\n_mpsup_list() { # what a word may be\n  case $1 in\n");
	for (size_t i = 0; word_kinds[i].name != NULL; i++) {
		if (word_kinds[i].source != WORD_LIST)
			continue;
		buf_addf(out, "  %s) printf '%%s\\n'", word_kinds[i].name);
		word_add_list(&word_kinds[i], out);
		buf_adds(out, " ;;\n");
	}
	buf_adds(out, "  esac\n}\n\n");
	buf_adds(out, bash_main);
}

/* ------------------------------------------------------------------------------------------------------ zsh */

#define ZSH_QUOTE "'\\''"

/* ":FILE:_files", as _arguments wants it; '' closes and opens the quotes around. */
static void zsh_value(struct buf *out, const char *title, const struct word_kind *kind)
{
	buf_addf(out, ":%s:", title);
	if (kind == NULL)
		buf_addc(out, ' ');
	else if (kind->source == WORD_FILES)
		buf_adds(out, "_files");
	else if (kind->source == WORD_NAMES)
		buf_adds(out, "_mpsup_name");
	else
		buf_addf(out, "_mpsup_%s", kind->name);
}

static void zsh_option(struct buf *out, const struct cmd_option *const *all, size_t i)
{
	const struct cmd_option *o = all[i];
	const char *equals = o->arg != NULL ? "=" : "";
	AUTO_BUF text = BUF_INIT;
	char letter = letter_of(all, i);

	if (letter != 0)
		buf_addf(out, " \\\n      '(-%c --%s)'{-%c,--%s%s}", letter, o->name, letter,
			 o->name, equals);
	else
		buf_addf(out, " \\\n      --%s%s", o->name, equals);
	add_quoted(&text, o->doc, "[]:\\", ZSH_QUOTE);
	text.p[--text.len] = '\0'; /* the quote, for what follows */
	buf_addf(out, "'[%s]", text.p + 1);
	if (o->arg != NULL)
		zsh_value(out, o->arg, word_kind_of(o));
	buf_addc(out, '\'');
}

static void zsh_options(struct buf *out, const struct cmd *cmd)
{
	const struct cmd_option *all[CMD_OPTIONS_MAX];
	size_t n = cmd_list_options(cmd, all);

	for (size_t i = 0; i < n; i++)
		zsh_option(out, all, i);
}

static void zsh_cmd(struct buf *out, const struct cmd *cmd)
{
	const struct word_kind *kind;
	const char *at;
	bool repeats;

	if (cmd == NULL)
		return;
	buf_addf(out, "  (%s)\n    _arguments", cmd->name);
	zsh_options(out, cmd);
	at = cmd->args;
	for (unsigned i = 1; word_next(cmd, &at, &kind, &repeats); i++) {
		if (kind == NULL)
			continue;
		buf_adds(out, " \\\n      '");
		if (repeats)
			buf_addc(out, '*');
		else
			buf_addf(out, "%u", i);
		zsh_value(out, kind->name, kind);
		buf_addc(out, '\'');
	}
	buf_adds(out, "\n    ;;\n");
}

static void zsh_verb(struct buf *out, const struct cmd *cmd)
{
	AUTO_BUF row = BUF_INIT;

	if (cmd == NULL)
		return;
	buf_addf(&row, "%s:%s", cmd->name, cmd->summary);
	buf_adds(out, "    ");
	add_quoted(out, row.p, "\\", ZSH_QUOTE);
	buf_addc(out, '\n');
}

static const char zsh_head[] = "_mpsup_name() {\n"
			       "  local -a names\n"
			       "  names=(${(f)\"$(_call_program names ${(q)_mpsup_command} "
			       "completion names ${(q)_mpsup_at} 2>/dev/null)\"})\n"
			       "  compadd -a names\n"
			       "}\n";
static const char zsh_main[] =
	"_mpsup() {\n"
	"  local curcontext=$curcontext state line _mpsup_command=${(Q)words[1]} i\n"
	"  local -a _mpsup_at\n"
	"  typeset -A opt_args\n"
	"  for ((i = 2; i < CURRENT; i++)); do\n"
	"    case $words[i] in\n"
	"    (-c|--config|-s|--socket) _mpsup_at+=($words[i] ${~${(Q)words[i+1]}}) ;;\n"
	"    (--config=*|--socket=*) _mpsup_at+=(${(Q)words[i]}) ;;\n"
	"    esac\n"
	"  done\n";

void shells_add_zsh(struct buf *out)
{
	buf_addc(out, '\n');
	buf_adds(out, zsh_head);
	for (size_t i = 0; word_kinds[i].name != NULL; i++) {
		if (word_kinds[i].source != WORD_LIST || strcmp(word_kinds[i].name, "VERB") == 0)
			continue;
		buf_addf(out, "\n_mpsup_%s() {\n  compadd --", word_kinds[i].name);
		word_add_list(&word_kinds[i], out);
		buf_adds(out, "\n}\n");
	}
	buf_adds(out, "\n_mpsup_VERB() {\n  local -a verbs\n  verbs=(\n");
	each_cmd(zsh_verb, out);
	buf_adds(out, "  )\n  _describe verb verbs\n}\n\n");
	buf_adds(out, zsh_main);
	buf_adds(out, "  _arguments -C");
	zsh_options(out, NULL);
	buf_adds(out, " \\\n      '(-)1:verb:_mpsup_VERB' '(-)*::argument:->rest' && return\n"
		      "  [[ $state = rest ]] || return 1\n"
		      "  case $words[1] in\n");
	each_cmd(zsh_cmd, out);
	buf_adds(out, "  esac\n}\n\n_mpsup \"$@\"\n");
}

/* ----------------------------------------------------------------------------------------------------- fish */

static void fish_valued(struct buf *out, const struct cmd *cmd)
{
	const struct cmd_option *all[CMD_OPTIONS_MAX];
	size_t n = cmd_list_options(cmd, all);
	AUTO_BUF words = BUF_INIT;

	for (size_t i = 0; i < n; i++)
		if (all[i]->arg != NULL)
			add_forms(&words, all, i);
	if (words.len > 0)
		buf_addf(out, "        case '%s'\n            printf '%%s\\n'%s\n", name_of(cmd),
			 words.p);
}

/* What may stand there: " -x -a 'HUP INT'". */
static void fish_words(struct buf *out, const struct word_kind *kind)
{
	if (kind == NULL) {
		buf_adds(out, " -x");
	} else if (kind->source == WORD_FILES) {
		buf_adds(out, " -r -F");
	} else if (kind->source == WORD_NAMES) {
		buf_adds(out, " -x -a '(__mpsup_names)'");
	} else {
		buf_adds(out, " -x -a '");
		word_add_list(kind, out);
		buf_addc(out, '\'');
	}
}

static void fish_option(struct buf *out, const struct cmd *cmd, const struct cmd_option *const *all,
			size_t i)
{
	buf_addf(out, "complete -c mpsup -n '__mpsup_is \"%s\"'", name_of(cmd));
	if (letter_of(all, i) != 0)
		buf_addf(out, " -s %c", all[i]->letter);
	buf_addf(out, " -l %s", all[i]->name);
	if (all[i]->arg != NULL)
		fish_words(out, word_kind_of(all[i]));
	buf_adds(out, " -d ");
	add_quoted(out, all[i]->doc, "\\", "\\'");
	buf_addc(out, '\n');
}

static void fish_cmd(struct buf *out, const struct cmd *cmd)
{
	const struct cmd_option *all[CMD_OPTIONS_MAX];
	size_t n = cmd_list_options(cmd, all);
	const struct word_kind *kind;
	const char *at = cmd != NULL ? cmd->args : "";
	bool repeats;

	if (cmd != NULL) {
		buf_addf(out, "complete -c mpsup -n '__mpsup_is \"\"' -a %s -d ", cmd->name);
		add_quoted(out, cmd->summary, "\\", "\\'");
		buf_addc(out, '\n');
	}
	for (size_t i = 0; i < n; i++)
		fish_option(out, cmd, all, i);
	for (unsigned i = 0; word_next(cmd, &at, &kind, &repeats); i++) {
		if (kind == NULL)
			continue;
		buf_addf(out, "complete -c mpsup -n '__mpsup_is %s %s %u'", cmd->name,
			 repeats ? "-ge" : "-eq", i);
		fish_words(out, kind);
		buf_addc(out, '\n');
	}
}

static const char fish_head[] =
	"# The verb, how many words stand behind it, -c and -s as they were given: one a line.\n"
	"function __mpsup_line\n"
	"    set -l verb ''\n"
	"    set -l n 0\n"
	"    set -l option ''\n"
	"    set -l at\n"
	"    for word in (commandline -opc)[2..-1]\n"
	"        if test -n \"$option\"\n"
	"            contains -- $option -c --config -s --socket; and set -a at $option (string "
	"replace -r '^~/' \"$HOME/\" -- $word)\n"
	"            set option ''\n"
	"        else if string match -q -- '-*' $word\n"
	"            string match -qr -- '^--(config|socket)=' $word; and set -a at $word\n"
	"            contains -- $word (__mpsup_valued \"$verb\"); and set option $word\n"
	"        else if test -z \"$verb\"\n"
	"            set verb $word\n"
	"        else\n"
	"            set n (math $n + 1)\n"
	"        end\n"
	"    end\n"
	"    printf '%s\\n' \"$verb\" $n $at\n"
	"end\n"
	"\n"
	"# Whether the cursor is behind this verb, and, with -eq N or -ge N, at such a word.\n"
	"function __mpsup_is\n"
	"    set -l line (__mpsup_line)\n"
	"    test \"$line[1]\" = \"$argv[1]\"; or return\n"
	"    test (count $argv) = 1; or test $line[2] $argv[2] $argv[3]\n"
	"end\n"
	"\n"
	"function __mpsup_names\n"
	"    set -l line (__mpsup_line)\n"
	"    set -l words (commandline -opc)\n"
	"    command $words[1] completion names $line[3..-1] 2>/dev/null\n"
	"end\n"
	"\n"
	"complete -c mpsup -f\n";

void shells_add_fish(struct buf *out)
{
	buf_adds(out, "\n# The options of a verb that take a value.\n"
		      "function __mpsup_valued\n    switch $argv[1]\n");
	each_cmd(fish_valued, out);
	buf_adds(out, "    end\nend\n\n");
	buf_adds(out, fish_head);
	each_cmd(fish_cmd, out);
}
