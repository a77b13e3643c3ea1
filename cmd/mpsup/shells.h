/*
 * What makes shells complete mpsup's command line. The scripts ask for the names of programs with
 * `mpsup completion names`.
 */
#ifndef CMD_MPSUP_SHELLS_H
#define CMD_MPSUP_SHELLS_H

struct buf;

void shells_add_bash(struct buf *out);
void shells_add_zsh(struct buf *out);
void shells_add_fish(struct buf *out);

#endif
