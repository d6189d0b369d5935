/* Start-up of a Cortex-M program under an emulated MPS2 board: no C library
   start file, semihosting for output, exit status and nothing else. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern char bss_begin[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
extern int main(int argc, char **argv);

/* Coprocessor access control register: bits 20..23 grant CP10 and CP11. */
#define CPACR (*(volatile uint32_t *)0xE000ED88u)

/* The FPU first: any later line may hold a float instruction. The emulator
   has loaded .data where it belongs. */
void reset(void)
{
    static char *arguments[] = { (char *)"bits", NULL };
#ifdef __ARM_FP
    CPACR |= 0xFu << 20;
    __asm__ volatile ("dsb\n\tisb");
#endif
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    initialise_monitor_handles();
    exit(main(1, arguments));
}

/* Any fault ends here; the time limit of the run reports it. */
static void halt(void)
{
    for (;;) {
    }
}

/* The C library runs these around main when its own start files are used. */
void _init(void) { }
void _fini(void) { }

/* Stack pointer, reset, then the other 14 exceptions of the architecture. */
__attribute__((section(".vectors"), used))
static void (*const vectors[16])(void) = {
    (void (*)(void))stack_top, reset,
    halt, halt, halt, halt, halt, halt, halt,
    halt, halt, halt, halt, halt, halt, halt,
};
