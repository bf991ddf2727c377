/* SPDX-License-Identifier: Apache-2.0
 * As much of NVIDIA's libraries as evit_deploy.profiles.power.nvml asks, answering from the environment: NVML, and CUDA's
 * driver with the place of its GPU. NVML's first GPU is the one that CUDA does not count. */
#include "../../targets/libcuda.c"
#include <time.h>

enum { OK = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };

static int users;
static int other = 0, ours = 1; /* what handles point to */

int cuDeviceGetPCIBusId(char *place, int size, int device) {
    (void)device;
    const char *text = getenv("FAKE_CUDA_PLACE");
    if (!text) return 1;
    snprintf(place, (size_t)size, "%s", text);
    return 0;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (number("FAKE_NVML_INIT")) return (int)number("FAKE_NVML_INIT");
    users++;
    return OK;
}
int nvmlShutdown(void) { return users-- > 0 ? OK : UNINITIALIZED; }
int users_left(void) { return users; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = index ? &ours : &other;
    return users ? OK : UNINITIALIZED;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *place, void **handle) {
    *handle = &ours;
    return strcmp(place, "0000:65:00.0") ? NOT_FOUND : OK;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int answer(void *handle) {
    if (!users) return UNINITIALIZED;
    if (number("FAKE_NVML_LOST")) return GPU_IS_LOST;
    return *(int *)handle || !getenv("FAKE_CUDA_PLACE") ? OK : NOT_SUPPORTED;
}

/* 250 W on the GPU of CUDA, and nothing told of the other one. */
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *millijoules) {
    *millijoules = (unsigned long long)(seconds() * 250e3);
    return number("FAKE_NVML_OLD") ? NOT_SUPPORTED : answer(handle);
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    *milliwatts = 180000;
    return number("FAKE_NVML_SILENT") ? NOT_SUPPORTED : answer(handle);
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
    *celsius = 61;
    return sensor ? NOT_SUPPORTED : answer(handle);
}
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *next) {
    (void)handle;
    *now = *next = (unsigned)number("FAKE_NVML_MIG");
    return number("FAKE_NVML_OLD") ? NOT_SUPPORTED : OK;
}
