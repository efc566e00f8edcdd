// A plugin of qemu's user mode that prints, at the end, how many instructions ran.
//
//	gcc -shared -fPIC -O2 -o count.so count.c && qemu-aarch64 -plugin ./count.so PROGRAM
//
// Debian has no package of qemu-plugin.h; what is used of it is declared here, of version 1 of
// the interface. Threads add to one number without a lock: a count is exact for a program that
// computes in one thread.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct block; // translated code that runs as a whole

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int op, void *counter, uint64_t add);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern uint64_t qemu_plugin_tb_n_insns(const struct block *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions;

static void translated(plugin_id id, struct block *b) {
	(void)id;
	const int add = 0;
	qemu_plugin_register_vcpu_tb_exec_inline(b, add, &instructions, qemu_plugin_tb_n_insns(b));
}

static void ended(plugin_id id, void *unused) {
	(void)id, (void)unused;
	fprintf(stderr, "instructions: %" PRIu64 "\n", instructions);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
	(void)info, (void)argc, (void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
