/*
 * What a configuration names and is not there now: it need not be a mistake, since it may be there when a program starts.
 */
#ifndef CMD_MPSUP_MISSING_H
#define CMD_MPSUP_MISSING_H

struct conf;

/* Adds a note to the messages for each command, directory= and env_file= with which a start would fail now. */
void missing_note(struct conf *conf);

#endif
